package itsdangerous

import "testing"

// SignForTest signs any text, as only the holder of the key can.
func SignForTest(t *testing.T, c Config, text string) string {
	t.Helper()
	s, err := newSerializer(c)
	if err != nil {
		t.Fatal(err)
	}
	return s.finish([]byte(text))
}
