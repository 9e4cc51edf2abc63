// Package jira implements sync.Tracker on Jira's REST API, version 2, of Jira Cloud and of Jira
// Data Center.
//
// It promises that
//
//   - what it reports of an issue by id (Read, Latest, Move) comes from the issue itself, and what
//     it reports from a search (Search, Find) from the index, which may lag;
//   - an answer that it does not understand is an error, never an empty result: a login page, a
//     redirect, a page token that repeats, or an answer given to an anonymous caller because the
//     credentials failed;
//   - every failed write says whether its effect may have happened all the same
//     (sync.Error.Uncertain). It has not if Jira refused it, or if no connection was there to send
//     it on;
//   - neither credentials nor bodies get into an error or a log.
//
// Connect finds out once what the deployment is, which account the agent uses and which number the
// custom field has, and checks what the work rests on. The Client that it returns has no state but
// that, the pace, the pauses, for a minute what groups people are in, how issues move, and which
// keys of the project it has seen.
//
// All calls share one pace and wait for their turn before they are sent, those that follow a
// person's move first and bulk calls last (sync.Priority); a write waits before its commit callback
// and is then sent at once. The pace falls when Jira's headers say that a limit is near, and climbs
// back to its ceiling. When Jira asks for a pause (429, or 503 with Retry-After), calls wait for
// its end, or fail at once when that is too far off. Nothing is repeated here: when and whether to
// try again is the engine's decision.
//
// On Cloud the issues are searched by page token and read in bulk. Data Center has neither: there
// the search pages by offset, ordered by creation so that a change meanwhile moves no issue past
// the reader.
package jira

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	gojira "github.com/andygrunwald/go-jira"
	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

// Deployment is the kind of a Jira installation.
type Deployment string

// The deployments. Auto lets Jira say which it is.
const (
	Auto       Deployment = "auto"
	Cloud      Deployment = "cloud"
	DataCenter Deployment = "datacenter"
)

// propertyKey names the issue property that holds the request ID, as Teleport's own plugin names
// it. https://github.com/gravitational/teleport/blob/master/integrations/access/jira/client.go
const propertyKey = "teleportAccessRequestId"

// Config says which Jira, as whom, and how the project is set up.
type Config struct {
	// URL is the base of all calls; it may have a path, as https://api.atlassian.com/ex/jira/<cloud
	// id> has.
	URL string
	// BrowseURL is the base of links for people; URL when empty.
	BrowseURL string
	// Username selects basic authentication; without it the token is sent as a bearer token.
	Username string
	// Token is asked for at each call, so that a token that was replaced is used at once.
	Token func() string
	// CAFile names a PEM bundle to trust beside the system's roots.
	CAFile string
	// RootCAs are trusted in place of the system's roots and CAFile.
	RootCAs *x509.CertPool

	Project    string
	IssueType  string // name or numeric id
	Deployment Deployment
	// RequestIDField is the custom field for the request ID: its name, or customfield_N.
	RequestIDField string
	// Fields are set on creation beside the agent's own.
	Fields map[string]any
	// MaxRPS is the ceiling on calls per second; 10 when zero.
	MaxRPS float64
	// Statuses are all configured statuses, names or ids; one that the project lacks is warned of.
	Statuses []string
	// OnCall, where set, is told of each call after it ended. It must not block.
	OnCall func(CallInfo)
}

// CallInfo describes one call, for metrics.
type CallInfo struct {
	Endpoint string // a template: "/rest/api/2/issue/{id}"
	Method   string
	Code     int           // the HTTP status; 0 when there was no answer
	Duration time.Duration // from sending to the end of the answer
	Waited   time.Duration // for the pace, before it was sent
}

// Client is a connected Jira. It implements sync.Tracker and is safe for concurrent use.
type Client struct {
	cfg        Config
	log        *zap.Logger
	api        *gojira.Client
	transport  *transport
	deployment Deployment
	self       sync.Person
	field      requestIDField
	groups     *sync.Recent[[]string]
	workflow   workflow
	clock      clock
	traces     traces
}

var _ sync.Tracker = (*Client)(nil)

// Connect verifies what the agent needs of Jira and returns a Client. It returns *sync.Error: a
// Permanent one when the configuration, the credentials or Jira's setup have to change first, else
// one that may pass, so that the caller tries again.
func Connect(ctx context.Context, cfg Config, log *zap.Logger) (*Client, error) {
	c, err := newClient(cfg, log)
	if err != nil {
		return nil, misconfigured("configure the Jira client", err)
	}
	if err := c.preflight(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Self is the account that the agent itself uses.
func (c *Client) Self() sync.Person { return c.self }

// Deployment is what the Jira is: Cloud or DataCenter.
func (c *Client) Deployment() Deployment { return c.deployment }

// IssueURL is the page of an issue, for people.
func (c Config) IssueURL(key string) string {
	return strings.TrimRight(cmp.Or(c.BrowseURL, c.URL), "/") + "/browse/" + url.PathEscape(key)
}

// Close drops idle connections. Calls that are under way are not disturbed.
func (c *Client) Close() { c.transport.close() }

func newClient(cfg Config, log *zap.Logger) (*Client, error) {
	base, err := parseBase(cfg.URL)
	if err != nil {
		return nil, err
	}
	switch {
	case cfg.Token == nil:
		return nil, errors.New("JIRA_API_TOKEN: no token is given")
	case !projectKey.MatchString(cfg.Project):
		return nil, fmt.Errorf("JIRA_PROJECT: %q is no project key; an example is ACCESS", cfg.Project)
	}
	dialer, err := newHTTPTransport(cfg)
	if err != nil {
		return nil, err
	}
	t := newTransport(dialer, cfg, log)
	api, err := gojira.NewClient(&http.Client{
		Transport: t,
		// No call of this package is answered with a redirect by a Jira that is set up rightly.
		// Following one would show the credentials to another host, or turn a POST into a GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, base)
	if err != nil {
		return nil, fmt.Errorf("JIRA_URL: %w", err)
	}
	return &Client{
		cfg:       cfg,
		log:       log,
		api:       api,
		transport: t,
		groups:    sync.NewRecent[[]string](maxGroupsKept, groupsAge),
	}, nil
}

var projectKey = regexp.MustCompile(`^[\pL\pN_-]+$`)

// parseBase checks the base URL. No message shows the URL itself, which may hold a password by
// mistake.
func parseBase(raw string) (string, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", errors.New("JIRA_URL: not an absolute http(s) URL; an example is https://example.atlassian.net")
	case u.User != nil:
		return "", errors.New("JIRA_URL: must not hold credentials; use JIRA_USERNAME and JIRA_API_TOKEN")
	case u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("JIRA_URL: must hold neither a query nor a fragment")
	}
	return strings.TrimRight(raw, "/") + "/", nil
}

func newHTTPTransport(cfg Config) (*http.Transport, error) {
	roots := cfg.RootCAs
	if roots == nil && cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("JIRA_CA_FILE: %w", err)
		}
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("JIRA_CA_FILE: %s holds no PEM certificate", cfg.CAFile)
		}
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		// All HTTP/2 calls share one connection: without pings a silent one would fail every call
		// until TCP gives it up.
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     90 * time.Second,
	}, nil
}

// request is one call to be made.
type request struct {
	op     string // what is tried, on what, for errors
	method string
	// endpoint is below /rest/api/2/, or begins with a slash. {id} and {project} stand for issue
	// and project, any other {name} for vars[name].
	endpoint string
	issue    string
	project  string
	vars     map[string]string
	query    url.Values
	body     any

	scope sync.Scope // how far a refusal reaches: this issue, or all of Jira
	write bool       // an effect is meant: a lost answer leaves it uncertain

	// paced: the wait for the pace is over, and took this long.
	paced  bool
	waited time.Duration
}

// template is the endpoint as metrics name it.
func (r *request) template() string {
	if strings.HasPrefix(r.endpoint, "/") {
		return r.endpoint
	}
	return "/rest/api/2/" + r.endpoint
}

// url is relative to the base.
func (r *request) url() string {
	names := []string{"{id}", url.PathEscape(r.issue), "{project}", url.PathEscape(r.project)}
	for name, value := range r.vars {
		names = append(names, "{"+name+"}", url.PathEscape(value))
	}
	path := strings.NewReplacer(names...).Replace(strings.TrimPrefix(r.template(), "/"))
	if len(r.query) > 0 {
		path += "?" + r.query.Encode()
	}
	return path
}

type requestKey struct{}

// issueID is what may stand for an issue in a path: nothing that a server could read as another
// path.
var issueID = regexp.MustCompile(`^[\pL\pN_-]+$`)

// do makes one call, decodes the answer into out where that is not nil, and returns the answer's
// header. Any error is *sync.Error.
func (c *Client) do(ctx context.Context, r request, out any) (http.Header, error) {
	if strings.Contains(r.endpoint, "{id}") && !issueID.MatchString(r.issue) {
		return nil, failure(r, fmt.Errorf("%q is no issue id: %w", r.issue, sync.ErrNotFound))
	}
	req, err := c.api.NewRequestWithContext(context.WithValue(ctx, requestKey{}, &r), r.method, r.url(), r.body)
	if err != nil {
		e := failure(r, fmt.Errorf("build the call: %w", err))
		e.Permanent = true
		return nil, e
	}
	resp, err := c.api.Do(req, out)
	if resp == nil {
		return nil, unanswered(r, err)
	}
	c.clock.note(resp.Header, time.Now())
	if err := refusal(r, resp.Response, err); err != nil {
		err.message = c.transport.redact(err.message)
		for i, words := range err.words {
			err.words[i] = c.transport.redact(words)
		}
		for i, field := range err.fields {
			err.fields[i] = c.transport.redact(field)
		}
		return resp.Header, answered(r, err)
	}
	return resp.Header, nil
}

// write makes a call that has an effect. All waiting comes before commit, and nothing between
// commit and the call.
func (c *Client) write(ctx context.Context, r request, commit func(context.Context) error, out any) error {
	r.write = true
	waited, err := c.transport.await(ctx, &r)
	if err != nil {
		return unanswered(r, err)
	}
	if err := commit(ctx); err != nil {
		return err
	}
	r.paced, r.waited = true, waited
	_, err = c.do(ctx, r, out)
	return err
}
