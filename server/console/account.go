package console

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/page"
)

// accountView is the account page's data.
type accountView struct {
	Name     string
	Provider string
	Notice   string // what was just done
	Current  sessionView
	Others   []sessionView
	More     bool // there may be sessions beyond those listed
}

// sessionView is a session as the page shows it.
type sessionView struct {
	ID        string
	Device    string
	UserAgent string // in full, where that says more than Device
	Place     string
	First     instant
	Last      instant
}

// notices are the only texts that the query parameter done can show. A free text
// would let a link put words into the site's mouth.
func notice(code string) string {
	switch code {
	case "ended":
		return "The session has ended. That browser has to sign in again."
	case "others":
		return "All other sessions have ended. Only this browser is still signed in."
	case "none":
		return "There was no other session to end."
	}
	return ""
}

// showAccount is GET /account.
func (c *Console) showAccount(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
	infos, err := s.Sessions(r.Context())
	if err != nil {
		c.fail(w, r, s, err)
		return
	}
	now := c.m.Now()
	v := accountView{Name: display(s), Provider: s.Provider(), Notice: arrived(r),
		Current: view(s.Info(), now), More: len(infos) >= latchkey.MaxListLimit}
	slices.SortStableFunc(infos, func(a, b latchkey.Info) int {
		return cmp.Or(b.LastSeenAt.Compare(a.LastSeenAt), b.CreatedAt.Compare(a.CreatedAt))
	})
	for _, info := range infos {
		if info.ID != s.ID() {
			v.Others = append(v.Others, view(info, now))
		}
	}
	c.site.Render(w, r, http.StatusOK, c.account, page.View{Title: "Your sessions", User: v.Name, Current: "/account", Body: v})
}

// arrived returns the message for what the visitor just did here. A link from
// another site cannot make the page say it.
func arrived(r *http.Request) string {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return ""
	}
	return notice(r.URL.Query().Get("done"))
}

// endOne is POST /account/sessions/{id}/end. An ID that cannot be one, an unknown
// one and another identity's are the same 404.
func (c *Console) endOne(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
	id, err := latchkey.ParseID(r.PathValue("id"))
	if err != nil {
		c.fail(w, r, s, latchkey.ErrNoSuchSession)
		return
	}
	if id == s.ID() {
		// The page has no such button: this is signing out, and leads where that does.
		if err := s.End(r.Context()); err != nil {
			c.fail(w, r, s, err)
			return
		}
		page.Redirect(w, c.site.LoginPath(""))
		return
	}
	if err := s.RevokeOne(r.Context(), id); err != nil {
		c.fail(w, r, s, err)
		return
	}
	page.Redirect(w, c.site.Path("/account?done=ended"))
}

// endOthers is POST /account/revoke-others.
func (c *Console) endOthers(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
	n, err := s.RevokeOthers(r.Context())
	if err != nil {
		c.fail(w, r, s, err)
		return
	}
	if n == 0 {
		page.Redirect(w, c.site.Path("/account?done=none"))
		return
	}
	page.Redirect(w, c.site.Path("/account?done=others"))
}

// view describes a session as of now.
func view(info latchkey.Info, now time.Time) sessionView {
	v := sessionView{ID: info.ID.String(), Device: device(info.UserAgent), Place: place(info.IP),
		First: newInstant(info.CreatedAt, now), Last: newInstant(info.LastSeenAt, now)}
	if v.Device != info.UserAgent {
		v.UserAgent = info.UserAgent
	}
	return v
}

// place names where a session came from, as far as it is kept.
func place(ip string) string {
	switch {
	case ip == "":
		return "Not recorded"
	case strings.Contains(ip, "/"):
		return "Network " + ip
	}
	return ip
}

// device names the browser and system of a user agent. Where the privacy setting
// keeps user agents in full they are cut to that here; otherwise they are so already.
func device(userAgent string) string {
	if userAgent == "" {
		return "Unknown device"
	}
	if !strings.Contains(userAgent, "/") {
		return userAgent
	}
	if name := latchkey.Device(userAgent); name != "" {
		return name
	}
	product, _, _ := strings.Cut(userAgent, "/")
	return product
}
