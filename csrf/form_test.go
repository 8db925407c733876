package csrf

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/latchkey-go/latchkey/keyring"
)

const urlencoded = "application/x-www-form-urlencoded"

var sample = strings.Repeat("aB3_-xyZ", 11)

func looking(t testing.TB, most int64) *Protection {
	t.Helper()
	ring, err := keyring.New(keyring.NewKey(1, [32]byte{1}, time.Unix(0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{CookieName: "s", Keys: ring, MaxFormBytes: most})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func post(contentType string, body io.Reader) *http.Request {
	r := httptest.NewRequest("POST", "http://app.example.com/", body)
	r.Header.Set("Content-Type", contentType)
	return r
}

// multipartForm writes fields in order, each a name and a value; a name with a slash
// is a file.
func multipartForm(t testing.TB, fields ...[2]string) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		name, file, isFile := strings.Cut(f[0], "/")
		create := w.CreateFormField
		if isFile {
			create = func(name string) (io.Writer, error) { return w.CreateFormFile(name, file) }
		}
		part, err := create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(part, f[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.String()
}

func TestFormToken(t *testing.T) {
	pad := strings.Repeat("x", 300)
	mixed, mixedBody := multipartForm(t, [2]string{"a", "b"}, [2]string{FieldName, sample}, [2]string{"upload/f.bin", strings.Repeat(pad, 9)})
	file, fileBody := multipartForm(t, [2]string{FieldName + "/f.txt", sample})
	long, longBody := multipartForm(t, [2]string{FieldName, sample + "A"})
	late, lateBody := multipartForm(t, [2]string{"upload/f.bin", strings.Repeat(pad, 9)}, [2]string{FieldName, sample})
	field := FieldName + "=" + sample
	for name, c := range map[string]struct{ contentType, body, want string }{
		"alone": {urlencoded, field, sample}, "charset": {urlencoded + "; charset=utf-8", field, sample}, "last": {urlencoded, "a=b&" + field, sample},
		"first-of-long": {urlencoded, field + "&a=" + strings.Repeat(pad, 9), sample}, "beyond-the-bound": {urlencoded, "a=" + strings.Repeat(pad, 9) + "&" + field, ""},
		"cut-at-the-bound":  {urlencoded, "a=" + strings.Repeat("x", 1024-len(field)-3) + "&" + field + "&b=c", ""},
		"ends-at-the-bound": {urlencoded, "a=" + strings.Repeat("x", 1024-len(field)-3) + "&" + field, sample},
		"short":             {urlencoded, field[:len(field)-1], ""}, "long": {urlencoded, field + "A", ""}, "first-of-two": {urlencoded, field + "&" + FieldName + "=" + strings.ToUpper(sample), sample},
		"other-name": {urlencoded, "x" + field, ""}, "empty": {urlencoded, "", ""}, "json": {"application/json", field, ""}, "plain": {"text/plain", field, ""},
		"no-type": {"", field, ""}, "bad-type": {";;", field, ""},
		"multipart": {mixed, mixedBody, sample}, "multipart-file": {file, fileBody, ""}, "multipart-long": {long, longBody, ""}, "multipart-late": {late, lateBody, ""},
		"no-boundary": {"multipart/form-data", mixedBody, ""}, "long-boundary": {"multipart/form-data; boundary=" + strings.Repeat("b", 71), mixedBody, ""},
		"wrong-boundary": {"multipart/form-data; boundary=zz", mixedBody, ""}, "garbage": {mixed, "--\r\n\x00", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := post(c.contentType, iotest.OneByteReader(strings.NewReader(c.body)))
			if got := looking(t, 1024).formToken(r); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if body, err := io.ReadAll(r.Body); err != nil || string(body) != c.body {
				t.Errorf("the body became %d bytes of %d, %v", len(body), len(c.body), err)
			}
		})
	}
}

// TestFormTokenIsBounded reads from a body without an end.
func TestFormTokenIsBounded(t *testing.T) {
	endless := &counting{}
	if got := looking(t, 2048).formToken(post(urlencoded, endless)); got != "" || endless.n > 2049 {
		t.Errorf("%q after %d bytes", got, endless.n)
	}
}

type counting struct{ n int }

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	c.n += len(b)
	return len(b), nil
}

func TestFormTokenKeepsTheBodysError(t *testing.T) {
	broken := errors.New("the line is cut")
	r := post(urlencoded, io.MultiReader(strings.NewReader(FieldName+"="+sample), &once{broken}))
	if got := looking(t, 0).formToken(r); got != "" {
		t.Errorf("%q from a body that was cut", got)
	}
	if body, err := io.ReadAll(r.Body); !errors.Is(err, broken) || string(body) != FieldName+"="+sample {
		t.Errorf("%q, %v", body, err)
	}
}

// once gives its error once, and then the end.
type once struct{ err error }

func (o *once) Read([]byte) (int, error) {
	err := o.err
	o.err = io.EOF
	return 0, err
}

func TestFormTokenOfAParsedForm(t *testing.T) {
	contentType, body := multipartForm(t, [2]string{FieldName, sample})
	without, withoutBody := multipartForm(t, [2]string{"a", sample})
	for name, c := range map[string][3]string{
		"urlencoded": {urlencoded, FieldName + "=" + sample, sample}, "multipart": {contentType, body, sample},
		"urlencoded-without": {urlencoded, "a=b", ""}, "multipart-without": {without, withoutBody, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := post(c[0], strings.NewReader(c[1]))
			if err := r.ParseMultipartForm(1 << 20); err != nil && !errors.Is(err, http.ErrNotMultipart) {
				t.Fatal(err)
			}
			if got := looking(t, 0).formToken(r); got != c[2] {
				t.Errorf("%q, want %q", got, c[2])
			}
		})
	}
	r := post(contentType, strings.NewReader(body))
	if err := r.ParseForm(); err != nil { // which leaves a multipart body alone
		t.Fatal(err)
	}
	if got := looking(t, 0).formToken(r); got != sample {
		t.Errorf("%q", got)
	}
	r = post(urlencoded, strings.NewReader(FieldName+"="+sample))
	r.Method = http.MethodDelete
	if err := r.ParseForm(); err != nil { // which leaves the body of a DELETE alone
		t.Fatal(err)
	}
	if got := looking(t, 0).formToken(r); got != sample {
		t.Errorf("%q", got)
	}
	none := httptest.NewRequest("POST", "http://app.example.com/", nil)
	none.Header.Set("Content-Type", urlencoded)
	none.Body = nil
	if got := looking(t, 0).formToken(none); got != "" {
		t.Errorf("%q from nothing", got)
	}
}

// FuzzForm: whatever the body, it reaches the handler unchanged, and a token that is
// found is one that net/http finds there too.
func FuzzForm(f *testing.F) {
	contentType, body := multipartForm(f, [2]string{"a", "b"}, [2]string{FieldName, sample}, [2]string{"u/f", "data"})
	f.Add(contentType, body)
	f.Add(urlencoded, "a=b&"+FieldName+"="+sample)
	f.Add(urlencoded, "csrf%5Ftoken=x;&"+FieldName+"="+sample+"&")
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=csrf_token\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=41\r\n--x--")
	p := looking(f, 4096)
	f.Fuzz(func(t *testing.T, contentType, body string) {
		r := post(contentType, strings.NewReader(body))
		r.Header = http.Header{"Content-Type": {contentType}}
		token := p.formToken(r)
		read, err := io.ReadAll(r.Body)
		if err != nil || string(read) != body {
			t.Fatalf("the body became %q, %v", read, err)
		}
		if raw, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(raw) != rawLength {
			return // nothing, or nothing that could be a token
		}
		again := post(contentType, bytes.NewReader(read))
		again.Header = r.Header
		err = again.ParseMultipartForm(1 << 20)
		// A form that is broken further on it may give up on altogether.
		if found := again.PostForm[FieldName]; !slices.Contains(found, token) && (err == nil || len(found) > 0) {
			t.Errorf("%q, where net/http has %q", token, found)
		}
	})
}
