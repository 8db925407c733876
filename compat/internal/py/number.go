package py

import (
	"math"
	"strconv"
	"strings"
)

// Float reads text as float(text) does, without the digits of other scripts. NaN is
// refused: whatever it is compared with, the answer is no.
func Float(text string) (float64, bool) {
	text = strings.Trim(text, " \t\n\r\v\f")
	if strings.ContainsAny(text, "xXpP") {
		return 0, false
	}
	if strings.Contains(text, "_") {
		for i := range len(text) {
			if text[i] == '_' && (i == 0 || i == len(text)-1 || !digit(text[i-1]) || !digit(text[i+1])) {
				return 0, false
			}
		}
		text = strings.ReplaceAll(text, "_", "")
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, false
	}
	return f, true
}

func digit(c byte) bool { return c-'0' < 10 }

// Microseconds is f seconds in whole microseconds, rounded half to even as
// timedelta and datetime.fromtimestamp do. It reports false out of range.
func Microseconds(f float64) (int64, bool) {
	whole, part := math.Modf(f)
	if math.IsNaN(f) || math.Abs(whole) > 9e12 {
		return 0, false
	}
	return int64(whole)*1e6 + int64(math.RoundToEven(part*1e6)), true
}
