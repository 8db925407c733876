package crossauth

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"

	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// bodyNames are the fields that carry a token, in the order they are looked at.
var bodyNames = []string{"csrfToken", "csrf_token"}

// maxParts bounds how many parts of a multipart form are looked at.
const maxParts = 100

// maxField is the longest token in a form, in bytes.
const maxField = 256

// submitted returns the masked token of a request: of the header, or of the form or
// JSON object in the body, "" when there is none. The body can be read again.
func (a *Adapter) submitted(r *http.Request) string {
	if values := r.Header.Values(a.config.CSRF.config.HeaderName); len(values) > 0 {
		if len(values) > 1 {
			return ""
		}
		return values[0]
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || r.Body == nil || r.Body == http.NoBody {
		return ""
	}
	switch media {
	case "application/x-www-form-urlencoded", "application/json", "multipart/form-data":
	default:
		return ""
	}
	body, whole := peek(r, a.config.MaxBody)
	switch {
	case media == "multipart/form-data":
		return multipartToken(body, params["boundary"])
	case !whole: // part of a form or an object is none
		return ""
	case media == "application/json":
		return jsonToken(body)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return ""
	}
	for _, name := range bodyNames {
		if values := form[name]; len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

func jsonToken(body []byte) string {
	o, err := pyjson.ParseObject(body)
	if err != nil {
		return ""
	}
	for _, name := range bodyNames {
		if s, ok := o.Text(name); ok {
			return s
		}
	}
	return ""
}

func multipartToken(body []byte, boundary string) string {
	if boundary == "" {
		return ""
	}
	second := ""
	form := multipart.NewReader(bytes.NewReader(body), boundary)
	for range maxParts {
		part, err := form.NextPart()
		if err != nil {
			break
		}
		name := part.FormName()
		if part.FileName() != "" || name != bodyNames[0] && (name != bodyNames[1] || second != "") {
			continue
		}
		value, err := io.ReadAll(io.LimitReader(part, maxField+1))
		if err != nil || len(value) > maxField {
			return ""
		}
		if name == bodyNames[0] {
			return string(value)
		}
		second = string(value)
	}
	return second
}

// peek reads up to most bytes of a body and puts them back. whole tells that they are
// all there is.
func peek(r *http.Request, most int64) (begin []byte, whole bool) {
	body := r.Body
	begin, err := io.ReadAll(io.LimitReader(body, most+1)) // a byte more tells whether there is more
	rest := io.Reader(body)
	if err != nil {
		rest = failing{err}
	}
	r.Body = replayed{io.MultiReader(bytes.NewReader(begin), rest), body}
	if int64(len(begin)) > most {
		return begin[:most], false
	}
	return begin, err == nil
}

// replayed is a body whose beginning was read before.
type replayed struct {
	io.Reader
	io.Closer
}

// failing gives the error that the body gave.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
