// Package login is the sign-in page and what stands behind it: OpenID Connect providers
// (package oidc), user names with passwords (package password), and the demo, which
// asks for any name.
//
// GET /login shows the ways that are configured and GET /login/{provider} one of them;
// neither ever signs anybody in, nor sends anybody away. POST /login/{provider} begins a
// sign-in at a provider, which ends at GET /callback/{provider}. POST /login signs in by
// password, or in the demo by name. POST /backchannel-logout/{provider} is where a
// provider says that somebody signed out there.
//
// After signing in the browser goes to the page that the visitor came for: the form's
// rd, or the query's when the form has none. It is a path of this host, or an address of
// a host that is configured (see transaction.ReturnTo).
//
// A link to /login may ask for more of a sign-in: prompt=login shows the page to somebody
// who is signed in too, max_age=SECONDS asks for a recent authentication and
// acr_values=CLASS for that context class. A sign-in that does not bring what was asked
// for fails. Whoever leaves the parameters out of the link meets the same refusal as
// before at the page that asked for them.
package login
