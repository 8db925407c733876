// Package console is the pages for whoever is signed in: the account page, which
// lists the visitor's own sessions and ends them, and the status page with live
// counts.
//
// Each page is for the session that asks, and shows or ends sessions of its identity
// only: another identity's session is answered as if it did not exist. Visitors
// without a session are sent to the sign-in page, and nobody is told why a session
// no longer stands.
package console
