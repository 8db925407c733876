// Package edge answers reverse proxies that ask, before each request to a service
// behind them, whether to let it through: nginx (auth_request), Caddy
// (forward_auth), Traefik (ForwardAuth) and Envoy (ext_authz).
//
// # A question's journey
//
// Only the networks of Config.TrustedProxies may ask; anyone else is refused. The
// proxy's own way of asking (dialect.go) becomes a [Question]; the [Policy] finds
// the rule that it falls under (policy.go, path.go); the session is looked up; the
// rule judges it; and the decision is told in the way that the proxy understands
// (answer.go). A decision that is not a grant never touches the session cookie.
//
// What is granted carries every identity header, empty where nothing is known, so
// that a proxy that replaces headers replaces all of them and none that a client
// made up survives.
//
// # Failing closed
//
// A question that lacks something, says something twice, names a host in another
// spelling than browsers use or, where rules look at paths, a path that services
// may read in several ways, is denied. A store that gives no answer is neither a
// grant nor a sign-out: 503.
package edge
