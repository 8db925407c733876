package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are 1/128 of their value wide at most,
// from a nanosecond on. The zero value is ready; it is not safe for concurrent use.
type histogram struct {
	counts [(64 - histogramBits) << histogramBits]uint64
	total  uint64
}

// histogramBits is how many bits of a duration are kept.
const histogramBits = 7

// add counts a duration.
func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(uint64(max(d, 0)))]++
	h.total++
}

// merge adds what another counted.
func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
}

// quantile returns the duration that a share q of all is not above; 0 when there is none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	left := uint64(q * float64(h.total))
	if float64(left) < q*float64(h.total) {
		left++
	}
	left = max(left, 1)
	for i, n := range h.counts {
		if n >= left {
			return time.Duration(mostOf(i))
		}
		left -= n
	}
	return time.Duration(mostOf(len(h.counts) - 1))
}

// bucketOf is the bucket of a value: values below 128 have one each, and each
// doubling above has 128.
func bucketOf(v uint64) int {
	shift := max(bits.Len64(v)-histogramBits-1, 0)
	return shift<<histogramBits + int(v>>shift)
}

// mostOf is the greatest value of a bucket.
func mostOf(bucket int) uint64 {
	shift := max(bucket>>histogramBits-1, 0)
	return uint64(bucket-shift<<histogramBits+1)<<shift - 1
}
