// Package login is the sign-in page.
//
// GET /login shows the ways to sign in that are configured; it never signs anybody
// in. POST /login does, and then sends the browser to the page that the visitor came
// for, which is always a path of this host: the form's rd, or the query's when the
// form has none.
//
// The one way so far is that of the demo: any name, checked by nobody.
package login
