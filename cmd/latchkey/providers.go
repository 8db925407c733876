package main

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/login/oidc"
)

// providersKey is the key of the configuration file that lists the identity providers.
// Like the rules of the edge they fit no command line.
const providersKey = "providers"

// providerSettings are the identity providers of the configuration file.
type providerSettings struct {
	list  []oidc.Config
	lines []string // where each of them stands, for messages: "latchkey.yaml:12"
	files []string // files of secrets that were read
}

// readProviders reads the list of providers. where is the configuration file's name.
// What it does not understand is a problem each, with its line; none repeats a value,
// which may be a secret.
func readProviders(where string, n *yaml.Node) (s providerSettings, problems []string) {
	if n.Kind != yaml.SequenceNode {
		return s, []string{fmt.Sprintf("%s:%d: %s: must be a list of providers", where, n.Line, providersKey)}
	}
	for i, item := range n.Content {
		at := fmt.Sprintf("%s:%d", where, item.Line)
		var c oidc.Config
		members := map[string]any{
			"id": &c.ID, "name": &c.Name, "issuer": &c.Issuer, "client_id": &c.ClientID, "client_secret": &c.ClientSecret,
			"client_auth": choice[oidc.ClientAuth]{&c.ClientAuth, map[string]oidc.ClientAuth{"basic": oidc.AuthBasic, "post": oidc.AuthPost}},
			"scopes":      &c.Scopes, "params": &c.Params, "prompt": &c.Prompt, "max_age": &c.MaxAge, "acr_values": &c.ACRValues, "require_acr": &c.RequireACR,
			"algorithm": &c.Algorithm, "audiences": &c.Audiences, "strict_logout_type": &c.StrictLogoutType,
			"userinfo":    choice[oidc.UserInfo]{&c.UserInfo, map[string]oidc.UserInfo{"always": oidc.UserInfoAlways, "never": oidc.UserInfoNever}},
			"keep_tokens": &c.KeepTokens, "logout": choice[bool]{&c.LocalLogout, map[string]bool{"provider": false, "local": true}},
			"redirect_url": &c.RedirectURL, "post_logout_url": &c.PostLogoutURL, "insecure_http": &c.DangerouslyPlainHTTP,
			"claims": map[string]any{"email": &c.Claims.Email, "verified_email": &c.Claims.VerifiedEmail, "name": &c.Claims.Name, "roles": &c.Claims.Roles,
				"role_map": &c.Claims.RoleMap, "role_prefix": &c.Claims.Prefix, "always": &c.Claims.Always},
		}
		for _, p := range readMembers(item, members, "") {
			problems = append(problems, fmt.Sprintf("%s:%d: provider %d: %s", where, p.line, i+1, p.text))
		}
		s.list, s.lines = append(s.list, c), append(s.lines, at)
	}
	if len(n.Content) == 0 {
		problems = append(problems, fmt.Sprintf("%s:%d: %s: the list is empty; leave it out", where, n.Line, providersKey))
	}
	return s, problems
}

// choice is a member that takes one of a few words.
type choice[T any] struct {
	into  *T
	words map[string]T
}

func (c choice[T]) set(text string) error {
	v, ok := c.words[text]
	if !ok {
		return fmt.Errorf("is none of %s", strings.Join(slices.Sorted(maps.Keys(c.words)), ", "))
	}
	*c.into = v
	return nil
}

// readSecrets puts the clients' secrets in place of where they are: file:PATH, env:NAME.
// It is for the daemon alone: other commands need none, and may not be allowed to.
func (s *settings) readSecrets() (problems []string) {
	p := &s.oidc
	for i := range p.list {
		text := p.list[i].ClientSecret
		add := func(format string, args ...any) {
			problems = append(problems, fmt.Sprintf("%s: provider %d: client_secret: %s", p.lines[i], i+1, fmt.Sprintf(format, args...)))
		}
		if path, ok := strings.CutPrefix(text, "file:"); ok {
			content, err := readSmall(path, maxAdminFile)
			if err != nil {
				add("file %s: %v", shownPath(path), err)
			} else if strings.TrimSpace(content) == "" {
				add("file %s: is empty", shownPath(path))
			}
			p.files = append(p.files, path)
			p.list[i].ClientSecret = strings.TrimSpace(content)
		} else if name, ok := strings.CutPrefix(text, "env:"); ok {
			if p.list[i].ClientSecret = os.Getenv(name); p.list[i].ClientSecret == "" {
				add("the variable %s is not set", shown(name))
			}
		}
	}
	return problems
}

// lineProblem is what is wrong at a line.
type lineProblem struct {
	line int
	text string
}

// readMembers reads a mapping into the places that members names: *string, *bool,
// *[]string, *time.Duration, maps of texts, choices and mappings below.
func readMembers(n *yaml.Node, members map[string]any, path string) (problems []lineProblem) {
	if n.Kind != yaml.MappingNode {
		return []lineProblem{{n.Line, strings.TrimSuffix(path, ".") + " must be a list of KEY: VALUE lines"}}
	}
	known := slices.Sorted(maps.Keys(members))
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		add := func(err error) {
			if err != nil {
				problems = append(problems, lineProblem{key.Line, path + bounded(oneLine(key.Value), 40) + ": " + err.Error()})
			}
		}
		into, ok := members[key.Value]
		switch {
		case !ok:
			add(errors.New("is not known" + nearest(key.Value, known)))
		case seen[key.Value]:
			add(errors.New("is given twice"))
		default:
			seen[key.Value] = true
			if below, isMapping := into.(map[string]any); isMapping {
				problems = append(problems, readMembers(value, below, path+key.Value+".")...)
				continue
			}
			add(setMember(into, value))
		}
	}
	return problems
}

// setMember sets one member from its value.
func setMember(into any, n *yaml.Node) (err error) {
	switch into := into.(type) {
	case *[]string:
		*into, err = ruleList(n)
		return err
	case *map[string]string:
		return eachPair(n, func(name string, value *yaml.Node) error {
			if value.Kind != yaml.ScalarNode {
				return errors.New("must be a plain value")
			}
			if *into == nil {
				*into = make(map[string]string)
			}
			(*into)[name] = value.Value
			return nil
		})
	case *map[string][]string:
		return eachPair(n, func(name string, value *yaml.Node) error {
			list, err := ruleList(value)
			if *into == nil {
				*into = make(map[string][]string)
			}
			(*into)[name] = list
			return err
		})
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return errors.New("must be a plain value")
	}
	switch into := into.(type) {
	case *string:
		*into = n.Value
	case *bool:
		if n.Tag != "!!bool" {
			return errors.New("must be true or false")
		}
		return n.Decode(into)
	case *time.Duration:
		if *into, err = parseDuration(n.Value); err != nil {
			return errors.New("is not a duration such as 90s, 30m, 24h or 90d")
		}
	case interface{ set(string) error }:
		return into.set(n.Value)
	default:
		return fmt.Errorf("cannot be set: %T", into)
	}
	return nil
}

// eachPair reads a mapping of names to values.
func eachPair(n *yaml.Node, set func(name string, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return errors.New("must be a list of KEY: VALUE lines")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if err := set(n.Content[i].Value, n.Content[i+1]); err != nil {
			return fmt.Errorf("%s: %w", bounded(oneLine(n.Content[i].Value), 40), err)
		}
	}
	return nil
}

// providerMembers are the library's fields in the words of the file.
var providerMembers = map[string]string{"ID": "id", "Name": "name", "Issuer": "issuer", "ClientID": "client_id", "ClientSecret": "client_secret",
	"ClientAuth": "client_auth", "RedirectURL": "redirect_url", "PostLogoutURL": "post_logout_url", "Params": "params", "Prompt": "prompt",
	"MaxAge": "max_age", "RequireACR": "require_acr", "Algorithm": "algorithm", "UserInfo": "userinfo", "Claims": "claims",
	"Claims.Always": "claims.always", "Claims.RoleMap": "claims.role_map", "Claims.Prefix": "claims.role_prefix"}

// complete fills in what follows from where the daemon is reached.
func (s *settings) complete(public *url.URL) []oidc.Config {
	base := public.Scheme + "://" + public.Host + s.prefix
	list := slices.Clone(s.oidc.list)
	for i := range list {
		if list[i].RedirectURL == "" {
			list[i].RedirectURL = base + "/callback/" + list[i].ID
		}
		if list[i].PostLogoutURL == "" {
			list[i].PostLogoutURL = base + "/login"
		}
	}
	return list
}

// checkProviders returns what is wrong with the identity providers.
func (s *settings) checkProviders() (problems []string) {
	public := s.publicOr("")
	if public == nil {
		public = &url.URL{Scheme: "https", Host: "localhost"} // --listen is wrong, and that is said
	}
	problems = s.readSecrets()
	ids := make(map[string]bool)
	for i, c := range s.complete(public) {
		at := fmt.Sprintf("%s: provider %d: ", s.oidc.lines[i], i+1)
		if e, ok := errors.AsType[*latchkey.Error](c.Check()); ok {
			for _, f := range e.Fields {
				field, index, _ := strings.Cut(f.Field, "[")
				member, known := providerMembers[field]
				if !known {
					member = strings.ToLower(field)
				}
				if index != "" {
					member += "[" + index
				}
				problems = append(problems, at+strings.Replace(member, "acrvalues", "acr_values", 1)+": "+f.Detail)
			}
		}
		switch {
		case slices.Contains([]string{"local", "api", "demo"}, c.ID):
			problems = append(problems, at+"id: "+c.ID+" is Latchkey's own")
		case ids[c.ID]:
			problems = append(problems, at+"id: another provider has it")
		}
		ids[c.ID] = true
	}
	if s.demo && len(s.oidc.list) > 0 {
		problems = append(problems, "--demo: lets anybody in under any name; leave the providers out")
	}
	return problems
}

// providerWarnings is what an operator should know of providers that are allowed.
func (s *settings) providerWarnings() (list []string) {
	for _, c := range s.oidc.list {
		if c.DangerouslyPlainHTTP && strings.HasPrefix(c.Issuer, "http:") {
			list = append(list, "provider "+c.ID+": insecure_http: whoever is on the network path to it can sign in as anybody")
		}
	}
	for _, path := range s.oidc.files {
		if othersCanRead(path) {
			list = append(list, "the file "+shownPath(path)+" of a client secret can be read by other users; chmod 600 it")
		}
	}
	return list
}

// formTargets are where the pages' forms may lead besides the daemon: to a provider,
// wherever it sends people, and to the hosts that sign-ins return to. Which they are
// cannot be listed, so it is any with TLS, and the ones without that are configured.
func (s *settings) formTargets() (list []string) {
	if len(s.oidc.list) == 0 && s.protectedHosts == "" {
		return nil
	}
	list = []string{"https:"}
	for _, c := range s.oidc.list {
		if u, err := url.Parse(c.Issuer); err == nil && u.Scheme == "http" {
			list = append(list, "http://"+u.Host)
		}
	}
	for _, host := range items(s.protectedHosts) {
		if strings.HasPrefix(host, "http://") {
			list = append(list, host)
		}
	}
	return list
}
