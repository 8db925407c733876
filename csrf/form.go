package csrf

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
)

// Bounds of what a form may look like, beside Config.MaxFormBytes.
const (
	maxParts    = 100 // of a multipart form, looked at in search of the token
	maxBoundary = 70  // RFC 2046 §5.1.1
)

// formToken returns the first field FieldName of the form in a request's body, or "".
// It reads at most p.maxForm bytes and puts them back.
func (p *Protection) formToken(r *http.Request) string {
	// Where something outside has parsed the form already, its body is gone.
	if values := r.PostForm[FieldName]; len(values) > 0 {
		return values[0]
	}
	if r.MultipartForm != nil {
		return first(r.MultipartForm.Value[FieldName])
	}
	if r.Body == nil || r.Body == http.NoBody {
		return ""
	}
	media, params, err := mime.ParseMediaType(first(r.Header["Content-Type"]))
	if err != nil {
		return ""
	}
	switch media {
	case "application/x-www-form-urlencoded":
		begin, whole := peek(r, p.maxForm)
		return urlencodedToken(begin, whole)
	case "multipart/form-data":
		boundary := params["boundary"]
		if boundary == "" || len(boundary) > maxBoundary {
			return ""
		}
		begin, _ := peek(r, p.maxForm)
		return multipartToken(begin, boundary)
	}
	return ""
}

// peek reads up to most bytes of r's body and puts them back in front of the rest.
// whole tells that they are all there is. An error of the body is kept for the next
// reader.
func peek(r *http.Request, most int64) (begin []byte, whole bool) {
	body := r.Body
	// One byte more than is looked at tells whether there is more.
	begin, err := io.ReadAll(io.LimitReader(body, most+1))
	rest := io.Reader(body)
	if err != nil {
		rest = failing{err}
	}
	r.Body = &replayed{io.MultiReader(bytes.NewReader(begin), rest), body}
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

// urlencodedToken finds the field in a form, of which begin is the beginning or the
// whole. It decodes nothing: browsers write the characters of name and token as they
// are (WHATWG URL, application/x-www-form-urlencoded serializer).
func urlencodedToken(begin []byte, whole bool) string {
	for len(begin) > 0 {
		pair, rest, more := bytes.Cut(begin, []byte("&"))
		if value, ok := bytes.CutPrefix(pair, []byte(FieldName+"=")); ok {
			if len(value) != TokenLength || !more && !whole { // it may go on
				return ""
			}
			return string(value)
		}
		begin = rest
	}
	return ""
}

// multipartToken finds the field in a multipart form (RFC 7578), of which begin may be
// the beginning only. A file is not taken for it.
func multipartToken(begin []byte, boundary string) string {
	form := multipart.NewReader(bytes.NewReader(begin), boundary)
	for range maxParts {
		part, err := form.NextPart()
		if err != nil {
			return ""
		}
		if part.FormName() != FieldName || part.FileName() != "" {
			continue
		}
		value, err := io.ReadAll(io.LimitReader(part, TokenLength+1))
		if err != nil || len(value) != TokenLength {
			return ""
		}
		return string(value)
	}
	return ""
}
