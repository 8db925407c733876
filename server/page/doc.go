// Package page is what Latchkey's web pages share: the layout, the style sheet and
// the logo, the headers that every page carries, and error pages.
//
// Pages are rendered on the server with [html/template], hold no script and no
// inline style, and work without JavaScript. Their Content-Security-Policy allows
// the site's own style sheet, images and forms and nothing else. Static files have
// a hash of their content in their path and may be cached for ever; pages may not
// be cached at all.
//
// A [Site] does not depend on a latchkey.Manager, so that the Manager's OnError can
// be [Site.WriteError].
package page
