package reflow

import "testing"

func BenchmarkDecode(b *testing.B) {
	const cookie = ".eJxlzLsOgzAMheF38QyVEyiXPEcnFmSIB0vhoripKiHenXSr2vU7v84BmiZwQEFmhgJ4IQng1hRCASst_LXtcXuJ5ziKzzqRypxVVBP7kZ7ZLNqmRFOifWDlsHZ4vzVt16MZPt_vXSLrX2rMT3pegtsqmA.aVc1pQ.1IAItPBCpHDyqYCEfw5DdSXdzsk"
	c, _ := codec(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Decode(cookie); err != nil {
			b.Fatal(err)
		}
	}
}
