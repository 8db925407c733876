package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed templates
var templates embed.FS

//go:embed static
var static embed.FS

// asset is a static file.
type asset struct {
	content     []byte
	contentType string
}

// addAsset reads an embedded file and returns the path it is served at, which
// changes with its content.
func (s *Site) addAsset(file, contentType string) (string, error) {
	content, err := static.ReadFile(file)
	if err != nil {
		return "", err
	}
	return s.addContent(file, contentType, content), nil
}

// addContent serves content under a name that changes with it.
func (s *Site) addContent(file, contentType string, content []byte) string {
	sum := sha256.Sum256(content)
	ext := path.Ext(file)
	name := strings.TrimSuffix(path.Base(file), ext) + "." + hex.EncodeToString(sum[:8]) + ext
	s.assets[name] = asset{content, contentType}
	return s.Path("/static/" + name)
}

// serveAsset answers with a static file. Since a path's content never changes, it
// may be kept for ever (RFC 8246).
func (s *Site) serveAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := s.assets[r.PathValue("file")]
	if !ok {
		s.WriteError(w, r, ErrNoPage)
		return
	}
	h := w.Header()
	SetHeaders(h)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Type", a.contentType)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.content))
}
