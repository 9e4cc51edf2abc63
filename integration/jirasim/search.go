package jirasim

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// searchCloud is a call of search/jql.
type searchCloud struct {
	JQL        string   `json:"jql"`
	Token      string   `json:"nextPageToken"`
	MaxResults *int     `json:"maxResults"`
	Fields     []string `json:"fields"`
	Expand     string   `json:"expand"` // a string in the body, too
	Properties []string `json:"properties"`
	ByKeys     bool     `json:"fieldsByKeys"`
	Reconcile  []int64  `json:"reconcileIssues"`
}

func (s *Server) postSearchJQL(q *request) (answer, error) {
	var c searchCloud
	if err := decode(q.body, &c); err != nil {
		return answer{}, err
	}
	return s.searchCloud(q, c)
}

// getSearchJQL takes reconcileIssues as a repeated parameter only, as specified; the
// comma-separated form that some clients send is not documented and therefore refused.
func (s *Server) getSearchJQL(q *request) (answer, error) {
	c := searchCloud{
		JQL: q.query.Get("jql"), Token: q.query.Get("nextPageToken"), Fields: list(q.query["fields"]),
		Expand: q.query.Get("expand"), Properties: list(q.query["properties"]),
	}
	if q.query.Get("maxResults") != "" {
		n, err := intParam(q, "maxResults", 0)
		if err != nil {
			return answer{}, err
		}
		c.MaxResults = &n
	}
	for _, value := range q.query["reconcileIssues"] {
		id, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return answer{}, refuse(http.StatusBadRequest, "The value '%s' of reconcileIssues is not a number.", value)
		}
		c.Reconcile = append(c.Reconcile, id)
	}
	return s.searchCloud(q, c)
}

const (
	maxReconcile  = 50
	maxProperties = 5
	maxSearchPage = 5000 // what maxResults may say; Caps bound what is given
)

func (c searchCloud) check() error {
	switch {
	case len(c.Reconcile) > maxReconcile:
		return refuse(http.StatusBadRequest, "reconcileIssues must not hold more than %d ids.", maxReconcile)
	case len(c.Properties) > maxProperties:
		return refuse(http.StatusBadRequest, "properties must not hold more than %d keys.", maxProperties)
	case c.MaxResults != nil && (*c.MaxResults < 1 || *c.MaxResults > maxSearchPage):
		return refuse(http.StatusBadRequest, "maxResults must be between 1 and %d.", maxSearchPage)
	}
	return nil
}

func (s *Server) searchCloud(q *request, c searchCloud) (answer, error) {
	after, err := s.readToken(c)
	if err != nil {
		return answer{}, err
	}
	if err := c.check(); err != nil {
		return answer{}, err
	}
	parsed, err := s.understand(q.user, c.JQL)
	if err != nil {
		return answer{}, err
	}
	if !parsed.bounded {
		return answer{}, refuse(http.StatusBadRequest, "Unbounded JQL queries are not allowed here. Please add a search "+
			"restriction to your query.")
	}
	v := view{
		fields: c.Fields, expand: list([]string{c.Expand}), properties: c.Properties,
		comments: s.cfg.Caps.InlineComments, histories: s.cfg.Caps.InlineChangelog,
	}
	most := s.cfg.Caps.SearchPage
	if v.idOnly() {
		most = s.cfg.Caps.IDPage
	}
	size := 50
	if c.MaxResults != nil {
		size = *c.MaxResults
	}
	found := s.matching(q.user, parsed, c.Reconcile)
	if after != nil {
		found = slices.DeleteFunc(found, func(i *Issue) bool { return parsed.compare(i, after) <= 0 })
	}
	shown := page(found, 0, min(size, most))
	issues := make([]any, 0, len(shown))
	for _, i := range shown {
		issues = append(issues, s.foundJSON(q, i, v))
	}
	o := object{"issues": issues, "isLast": len(shown) == len(found)}
	if len(shown) < len(found) {
		o["nextPageToken"] = s.writeToken(c.JQL, shown[len(shown)-1])
	}
	return answer{status: http.StatusOK, body: o}, nil
}

// foundJSON shows no more than was asked for: nothing but the id if no field was.
func (s *Server) foundJSON(q *request, i *Issue, v view) object {
	if len(v.fields) > 0 {
		o := s.issueJSON(q, i, v)
		if v.idOnly() {
			delete(o, "fields")
		}
		return o
	}
	o := object{"id": i.ID}
	whole := s.issueJSON(q, i, v)
	for _, part := range []string{"changelog", "transitions", "properties"} {
		if value, ok := whole[part]; ok {
			o[part] = value
		}
	}
	return o
}

// matching are the issues that a search shows, in order: from the index, but those to reconcile as
// they are now.
func (s *Server) matching(u *User, parsed search, reconcile []int64) []*Issue {
	found := []*Issue{}
	if !can(u, BrowseProjects) {
		return found
	}
	now := s.indexTime()
	for _, r := range s.candidates(parsed) {
		if !r.shownTo(u) {
			continue
		}
		i := r.indexed(now)
		if slices.Contains(reconcile, int64(r.id)) {
			i = r.now.searchable()
		}
		if i != nil && parsed.matches(i) {
			found = append(found, i)
		}
	}
	slices.SortFunc(found, parsed.compare)
	return found
}

// pageToken says where the next page begins: behind an issue as it was then. Clients must take it
// as opaque.
type pageToken struct {
	JQL              string
	ID, Key, Project string
	Created, Updated time.Time
	Issued           time.Time
}

// tokenLife is how long a token can be used.
const tokenLife = 7 * 24 * time.Hour

func (s *Server) writeToken(jql string, last *Issue) string {
	raw := encode(pageToken{jql, last.ID, last.Key, last.Project, last.Created, last.Updated, s.clock()})
	return base64.RawURLEncoding.EncodeToString(raw)
}

// readToken returns the issue behind which the page begins; nil for the first page.
func (s *Server) readToken(c searchCloud) (*Issue, error) {
	if c.Token == "" {
		return nil, nil
	}
	var t pageToken
	raw, err := base64.RawURLEncoding.DecodeString(c.Token)
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	if err != nil || t.JQL != c.JQL || s.clock().Sub(t.Issued) > tokenLife {
		return nil, refuse(http.StatusBadRequest, "The provided next page token is invalid or expired.")
	}
	return &Issue{ID: t.ID, Key: t.Key, Project: t.Project, Created: t.Created, Updated: t.Updated}, nil
}

// searchOffset is a call of Data Center's search.
type searchOffset struct {
	JQL        string   `json:"jql"`
	StartAt    int      `json:"startAt"`
	MaxResults *int     `json:"maxResults"`
	Validate   *bool    `json:"validateQuery"`
	Fields     []string `json:"fields"`
	Expand     names    `json:"expand"` // which form it takes is not documented
	Properties []string `json:"properties"`
}

func (s *Server) postSearch(q *request) (answer, error) {
	if s.cfg.Deployment == Cloud {
		return answer{}, searchRemoved()
	}
	var c searchOffset
	if err := decode(q.body, &c); err != nil {
		return answer{}, err
	}
	return s.searchOffset(q, c)
}

func (s *Server) getSearch(q *request) (answer, error) {
	if s.cfg.Deployment == Cloud {
		return answer{}, searchRemoved()
	}
	startAt, err := intParam(q, "startAt", 0)
	if err != nil {
		return answer{}, err
	}
	maxResults, err := intParam(q, "maxResults", 50)
	if err != nil {
		return answer{}, err
	}
	validate := q.query.Get("validateQuery") != "false"
	return s.searchOffset(q, searchOffset{
		JQL: q.query.Get("jql"), StartAt: startAt, MaxResults: &maxResults, Validate: &validate,
		Fields: list(q.query["fields"]), Expand: list(q.query["expand"]), Properties: list(q.query["properties"]),
	})
}

// searchRemoved is Cloud's answer to the old endpoint:
// https://developer.atlassian.com/changelog/#CHANGE-2046
func searchRemoved() *Refusal {
	return refuse(http.StatusGone, "The requested API has been removed. Please migrate to the /rest/api/3/search/jql "+
		"API. A full migration guideline is available at https://developer.atlassian.com/changelog/#CHANGE-2046")
}

func (s *Server) searchOffset(q *request, c searchOffset) (answer, error) {
	size := 50
	if c.MaxResults != nil {
		size = *c.MaxResults
	}
	if size < 0 || size > s.cfg.Caps.SearchPage {
		size = s.cfg.Caps.SearchPage
	}
	if c.StartAt < 0 {
		return answer{}, refuse(http.StatusBadRequest, "startAt must not be negative.")
	}
	if c.StartAt+size > s.cfg.Caps.ResultWindow {
		return answer{}, refuse(
			http.StatusBadRequest,
			"Search limit exceeded: startAt + maxResults must not be above %d.",
			s.cfg.Caps.ResultWindow,
		)
	}
	parsed, err := s.understand(q.user, c.JQL)
	if err != nil {
		return answer{}, err
	}
	validate := c.Validate == nil || *c.Validate
	if validate && len(parsed.absent) > 0 {
		return answer{}, &Refusal{Status: http.StatusBadRequest, Messages: parsed.absent}
	}
	v := view{
		fields:     c.Fields,
		expand:     c.Expand,
		properties: c.Properties,
		comments:   s.cfg.Caps.InlineComments,
		histories:  s.cfg.Caps.InlineChangelog,
	}
	if len(v.fields) == 0 {
		v.fields = []string{"*navigable"}
	}
	found := s.matching(q.user, parsed, nil)
	issues := make([]any, 0, size)
	for _, i := range page(found, c.StartAt, size) {
		issues = append(issues, s.issueJSON(q, i, v))
	}
	o := object{"expand": "schema,names", "startAt": c.StartAt, "maxResults": size, "total": len(found), "issues": issues}
	if len(parsed.absent) > 0 {
		o["warningMessages"] = parsed.absent
	}
	return answer{status: http.StatusOK, body: o}, nil
}

// bulkFetch is the body of POST issue/bulkfetch.
type bulkFetch struct {
	Issues     []string `json:"issueIdsOrKeys"`
	Fields     []string `json:"fields"`
	Expand     []string `json:"expand"` // an array here
	Properties []string `json:"properties"`
	ByKeys     bool     `json:"fieldsByKeys"`
}

const maxBulkFetch = 100

func (s *Server) postBulkFetch(q *request) (answer, error) {
	var b bulkFetch
	if err := decode(q.body, &b); err != nil {
		return answer{}, err
	}
	switch {
	case len(b.Issues) == 0:
		return answer{}, refuse(http.StatusBadRequest, "issueIdsOrKeys must not be empty.")
	case len(b.Issues) > maxBulkFetch:
		return answer{}, refuse(http.StatusBadRequest, "issueIdsOrKeys must not hold more than %d issues.", maxBulkFetch)
	case len(b.Properties) > maxProperties:
		return answer{}, refuse(http.StatusBadRequest, "properties must not hold more than %d keys.", maxProperties)
	}
	v := view{
		fields:     b.Fields,
		expand:     b.Expand,
		properties: b.Properties,
		comments:   s.cfg.Caps.InlineComments,
		histories:  s.cfg.Caps.InlineChangelog,
	}
	if len(v.fields) == 0 {
		v.fields = []string{"*navigable"}
	}
	var found []*record
	for _, idOrKey := range b.Issues {
		if r, err := s.visible(q.user, idOrKey); err == nil && !slices.Contains(found, r) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *record) int { return a.id - b.id })
	issues := make([]any, 0, len(found))
	for _, r := range found {
		issues = append(issues, s.issueJSON(q, r.read(), v))
	}
	return answer{status: http.StatusOK, body: object{"issues": issues, "issueErrors": []any{}}}, nil
}
