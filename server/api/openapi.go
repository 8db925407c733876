package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/latchkey-go/latchkey"
)

// huma makes the schemas and writes the document; it neither routes nor decodes.
// Its error format is a global of that package and its bodies are not as strict
// as docs/api.md promises, so the routes run in this package's own wrapper, and
// both come from one table.

// About is what the document tells besides the routes.
type About struct {
	Version string
	// Server is the daemon's public URL, or "" when it is not known.
	Server string
	// Metrics says that /metrics is served beside the API.
	Metrics bool
	// KeySet says that /jwks.json is.
	KeySet bool
}

// Document returns the OpenAPI 3.1 document of the routes, as JSON. Admin routes are
// in it only where there is an admin key, and those to the upstream where there is
// one: without, they are not found.
func (a *API) Document(about About) ([]byte, error) {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info:    &huma.Info{Title: "Latchkey", Version: about.Version, Description: "Issues, checks, renews and ends web sessions."},
		Components: &huma.Components{Schemas: registry, SecuritySchemes: map[string]*huma.SecurityScheme{
			"token":  {Type: "http", Scheme: "bearer", BearerFormat: "lk_…", Description: "A session token"},
			"cookie": {Type: "apiKey", In: "cookie", Name: a.cfg.CookieName, Description: "A session token"},
		}},
	}
	if about.Server != "" {
		doc.Servers = []*huma.Server{{URL: about.Server}}
	}
	routes := a.routes
	if a.cfg.Admins.None() {
		doc.Info.Description += " The admin routes are off: no admin key is configured."
		routes = slices.DeleteFunc(slices.Clone(routes), func(rt Route) bool { return rt.Who == Admin })
	} else {
		doc.Components.SecuritySchemes["admin"] = &huma.SecurityScheme{Type: "http", Scheme: "bearer", Description: "An admin key"}
	}
	if a.cfg.Upstream == nil {
		routes = slices.DeleteFunc(slices.Clone(routes), func(rt Route) bool { return strings.HasPrefix(rt.Path, upstreamPath) })
	}
	problem := registry.Schema(reflect.TypeFor[latchkey.Problem](), true, "")
	for _, rt := range routes {
		doc.AddOperation(operation(registry, rt, problem))
	}
	doc.AddOperation(beside("/openapi.json", "document", "This document", "application/json", huma.TypeObject, problem))
	if about.Metrics {
		doc.AddOperation(beside("/metrics", "metrics", "Metrics as Prometheus text", "text/plain", huma.TypeString, problem))
	}
	if about.KeySet {
		doc.AddOperation(beside("/jwks.json", "keySet", "The keys that verify assertions of identity (RFC 7517)", "application/jwk-set+json", huma.TypeObject, problem))
	}
	for _, s := range registry.Map() {
		if s.AdditionalProperties == false {
			s.AdditionalProperties = nil // answers may grow; what requests may not have is said below
		}
	}
	for _, rt := range routes {
		if s := registry.SchemaFromRef("#/components/schemas/" + rt.in.Name()); s != nil && rt.Body == JSON {
			s.AdditionalProperties = false
		}
	}
	return json.Marshal(doc)
}

// beside is the operation of a route that package server answers without the wrapper.
func beside(path, name, summary, mediaType, kind string, problem *huma.Schema) *huma.Operation {
	open := Route{Who: Open}
	return &huma.Operation{Method: http.MethodGet, Path: path, OperationID: name, Summary: summary, Responses: open.refusals(map[string]*huma.Response{
		"200": {Description: http.StatusText(http.StatusOK), Content: map[string]*huma.MediaType{mediaType: {Schema: &huma.Schema{Type: kind}}}},
	}, problem)}
}

// refusals adds a route's failures to its responses.
func (rt *Route) refusals(responses map[string]*huma.Response, problem *huma.Schema) map[string]*huma.Response {
	for status, codes := range rt.failures() {
		responses[strconv.Itoa(status)] = &huma.Response{Description: strings.Join(codes, ", "),
			Content: map[string]*huma.MediaType{"application/problem+json": {Schema: problem}}}
	}
	return responses
}

func operation(registry huma.Registry, rt Route, problem *huma.Schema) *huma.Operation {
	op := &huma.Operation{Method: rt.Method, Path: rt.Path, OperationID: rt.Name, Summary: rt.Summary, Responses: map[string]*huma.Response{}}
	switch rt.Who {
	case Admin:
		op.Security = []map[string][]string{{"admin": {}}}
	case Me:
		op.Security = []map[string][]string{{"cookie": {}}, {"token": {}}}
	}
	if strings.Contains(rt.Path, "{id}") {
		op.Parameters = append(op.Parameters, &huma.Param{Name: "id", In: "path", Required: true, Description: "A session ID",
			Schema: &huma.Schema{Type: huma.TypeString, Format: "uuid"}})
	}
	for _, q := range rt.Query {
		op.Parameters = append(op.Parameters, &huma.Param{Name: q.Name, In: "query", Description: q.Doc, Schema: q.schema()})
	}
	if rt.Body != NoBody {
		mediaType := "application/json"
		if rt.Body == Form {
			mediaType = "application/x-www-form-urlencoded"
		}
		op.RequestBody = &huma.RequestBody{Required: true,
			Content: map[string]*huma.MediaType{mediaType: {Schema: registry.Schema(rt.in, true, "")}}}
	}
	for _, status := range []int{rt.Status, rt.OtherStatus} {
		if status == 0 {
			continue
		}
		answer := &huma.Response{Description: http.StatusText(status)}
		if rt.out != reflect.TypeFor[None]() {
			answer.Content = map[string]*huma.MediaType{"application/json": {Schema: registry.Schema(rt.out, true, "")}}
		}
		op.Responses[strconv.Itoa(status)] = answer
	}
	rt.refusals(op.Responses, problem)
	return op
}

func (q Param) schema() *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, v := range q.Enum {
		s.Enum = append(s.Enum, v)
	}
	if q.Max > 0 {
		least, most := 1.0, float64(q.Max)
		s = &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &most}
	}
	return s
}

// failures lists the codes that a route may answer with, by status.
func (rt *Route) failures() map[int][]string {
	codes := slices.Clone(rt.Codes)
	codes = append(codes, latchkey.CodeInternal, latchkey.CodeStoreUnavailable, latchkey.CodeMisdirected)
	switch {
	case rt.Who == Admin:
		codes = append(codes, latchkey.CodeAdminKey, latchkey.CodeNotFound, latchkey.CodeMalformed, latchkey.CodeInvalidRequest)
	case rt.Who == Me:
		codes = append(codes, latchkey.CodeInvalidSession)
		if rt.Method != http.MethodGet {
			codes = append(codes, latchkey.CodeCSRFRefused)
		}
		if !rt.NoSession {
			codes = append(codes, latchkey.CodeMalformed, latchkey.CodeInvalidRequest)
		}
	}
	if rt.Body != NoBody {
		codes = append(codes, latchkey.CodeBodyTooLarge, latchkey.CodeContentType)
	}
	out := make(map[int][]string)
	slices.Sort(codes)
	for _, code := range slices.Compact(codes) {
		out[code.Status()] = append(out[code.Status()], string(code))
	}
	return out
}
