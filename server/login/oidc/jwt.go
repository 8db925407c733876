package oidc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxToken bounds an ID or logout token, in bytes.
const maxToken = 64 << 10

// kind is what a token must be.
type kind int

const (
	idToken kind = iota
	logoutToken
)

// parse verifies a token's signature and returns its claims, for the checks that all
// kinds share: form, type, algorithm, signature, issuer and audience.
func (p *Provider) parse(ctx context.Context, raw string, k kind) (claimSet, error) {
	if len(raw) > maxToken {
		return nil, refuse(Malformed)
	}
	parts := strings.Split(raw, ".")
	if len(parts) == 5 {
		return nil, refuse(Encrypted)
	}
	if len(parts) != 3 {
		return nil, refuse(Malformed)
	}
	var header struct {
		Algorithm string `json:"alg"`
		Type      any    `json:"typ"`
		KeyID     string `json:"kid"`
		Critical  any    `json:"crit"`
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(parts[0])
	if err != nil || json.Unmarshal(decoded, &header) != nil || header.Critical != nil { // no extension is known
		return nil, refuse(Malformed)
	}
	// The header's own word decides nothing but which published key to try: jwk, jku and
	// x5u in it are not looked at.
	if header.Algorithm != p.cfg.Algorithm {
		return nil, refuse(WrongAlgorithm)
	}
	if !p.typeFits(header.Type, k) {
		return nil, refuse(WrongType)
	}
	token, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(p.cfg.Algorithm)})
	if err != nil {
		return nil, refuse(Malformed)
	}
	payload, err := p.verify(ctx, token, header.KeyID)
	if err != nil {
		return nil, err
	}
	claims, ok := parseClaims(payload)
	if !ok {
		return nil, refuse(Malformed)
	}
	if issuer, _ := claims["iss"].(string); issuer != p.cfg.Issuer {
		return nil, refuse(WrongIssuer)
	}
	if why := p.audience(claims, k); why != "" {
		return nil, refuse(why)
	}
	return claims, nil
}

// typeFits judges the typ of a header (RFC 7515, 4.1.9; RFC 8725, 3.11): one kind of
// token must not pass for another.
func (p *Provider) typeFits(typ any, k kind) bool {
	text, isText := typ.(string)
	text = strings.TrimPrefix(strings.ToLower(text), "application/")
	switch {
	case typ == nil:
		return k == idToken || !p.cfg.StrictLogoutType
	case !isText:
		return false
	case k == logoutToken:
		return text == "logout+jwt"
	}
	return text == "jwt"
}

// audience judges aud, and azp of an ID token (OpenID Connect Core, 3.1.3.7, items 3 to
// 5). A logout token may be for others too: it tells nothing but that a session is over.
func (p *Provider) audience(claims claimSet, k kind) Reason {
	var list []string
	switch aud := claims["aud"].(type) {
	case string:
		list = []string{aud}
	case []any:
		for _, item := range aud {
			text, ok := item.(string)
			if !ok {
				return WrongAudience
			}
			list = append(list, text)
		}
	}
	if !slices.Contains(list, p.cfg.ClientID) {
		return WrongAudience
	}
	if k == logoutToken {
		return ""
	}
	for _, aud := range list {
		if aud != p.cfg.ClientID && !slices.Contains(p.cfg.Audiences, aud) {
			return WrongAudience
		}
	}
	azp, given := claims["azp"]
	if given && azp != p.cfg.ClientID || !given && len(list) > 1 {
		return WrongParty
	}
	return ""
}

// instant reads a NumericDate (RFC 7519, 2).
func (c claimSet) instant(name string) (t time.Time, ok bool) {
	n, isNumber := c[name].(json.Number)
	if !isNumber {
		return t, false
	}
	f, err := n.Float64()
	if err != nil || math.IsNaN(f) || f < 0 || f > 253402300799 { // the year 9999
		return t, false
	}
	sec, frac := math.Modf(f)
	return time.Unix(int64(sec), int64(frac*1e9)).UTC(), true
}

// lifetime judges exp, iat and nbf. A provider's clock may be ahead by maxSkew; what
// has expired by ours has expired.
func (p *Provider) lifetime(claims claimSet) (issued, expires time.Time, why Reason) {
	now := p.now()
	issued, hasIssued := claims.instant("iat")
	expires, hasExpires := claims.instant("exp")
	if !hasIssued || !hasExpires {
		return issued, expires, WrongTime
	}
	if !expires.After(now) {
		return issued, expires, Expired
	}
	if issued.After(now.Add(maxSkew)) || expires.Before(issued) {
		return issued, expires, WrongTime
	}
	if _, given := claims["nbf"]; given {
		if from, ok := claims.instant("nbf"); !ok || from.After(now.Add(maxSkew)) {
			return issued, expires, WrongTime
		}
	}
	return issued, expires, ""
}
