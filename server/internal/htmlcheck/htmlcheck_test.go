package htmlcheck_test

import (
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/server/internal/htmlcheck"
)

const sound = `<!DOCTYPE html><html lang="en"><head><title>T</title><link rel="stylesheet" href="/s.css"></head>
<body><main><h1 id="t">A <b>bold</b> title</h1><ul class="a b"><li>one</li><li class="b">two</li></ul>
<form method="post" action="/x"><label for="n">N</label><input id="n" type="text"><button>Go</button></form></main></body></html>`

func TestSelectors(t *testing.T) {
	err := htmlcheck.Check(sound, htmlcheck.Sound,
		htmlcheck.In("h1#t", htmlcheck.HasExactText("A bold title"), htmlcheck.HasText("bold")),
		htmlcheck.Count("ul.a.b li", 2), htmlcheck.In("ul li.b", htmlcheck.HasExactText("two")),
		htmlcheck.In("form[method=post] input[type=text]", htmlcheck.HasAttr("id", "n")),
		htmlcheck.NotIn("h2"), htmlcheck.NotIn("ul.c"), htmlcheck.NotIn("li ul"))
	if err != nil {
		t.Error(err)
	}
	for name, c := range map[string]htmlcheck.Checker{
		"absent": htmlcheck.In("h2"), "several": htmlcheck.In("li"), "text": htmlcheck.In("h1", htmlcheck.HasText("other")),
		"exact": htmlcheck.In("h1", htmlcheck.HasExactText("A bold")), "attr": htmlcheck.In("input", htmlcheck.HasAttr("id", "m")),
		"present": htmlcheck.NotIn("h1"), "count": htmlcheck.Count("li", 3),
	} {
		if htmlcheck.Check(sound, c) == nil {
			t.Errorf("%s: nothing found wrong", name)
		}
	}
}

func TestSoundFindsFaults(t *testing.T) {
	for name, fault := range map[string]string{
		"script": `<script>x</script>`, "style": `<style>x</style>`, "style_attribute": `<p style="color:red">x</p>`,
		"handler": `<p onclick="x">x</p>`, "script_link": `<a href="javascript:x">x</a>`, "elsewhere": `<img alt="" src="https://example.com/x">`,
		"other_host": `<a href="//example.com">x</a>`, "frame": `<iframe></iframe>`, "base": `<base href="/">`,
		"no_alt": `<img src="/x">`, "no_label": `<input type="text">`, "empty_button": `<button></button>`,
		"form_by_get": `<form action="/x"></form>`, "two_ids": `<p id="t">x</p>`, "two_headings": `<h1>x</h1>`, "dangling": `<p aria-describedby="q">x</p>`,
	} {
		t.Run(name, func(t *testing.T) {
			if htmlcheck.Check(strings.Replace(sound, "<ul", fault+"<ul", 1), htmlcheck.Sound) == nil {
				t.Error("nothing found wrong")
			}
		})
	}
}
