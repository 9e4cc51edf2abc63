package jirasim

import (
	"net/http"
	"net/url"
	"strings"
)

const apiPath = "/rest/api/2/"

// endpoint is one operation of the REST API. A template segment in braces takes any text.
type endpoint struct {
	method   string
	template string // below /rest/api/2/; one that begins with a slash is below Config.BasePath
	only     Deployment
	serve    func(*Server, *request) (answer, error)
	// anonymous: it needs no authentication and is never limited.
	anonymous bool
}

func (e endpoint) route() string { return e.method + " " + e.template }

func (e endpoint) path() string {
	if strings.HasPrefix(e.template, "/") {
		return e.template
	}
	return apiPath + e.template
}

// endpoints are tried in order: a literal segment must come before a variable one.
func endpoints() []endpoint {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	return []endpoint{
		{method: get, template: "serverInfo", serve: (*Server).getServerInfo, anonymous: true},
		{method: get, template: "myself", serve: (*Server).getMyself},
		{method: get, template: "user", only: DataCenter, serve: (*Server).getUser},
		{method: get, template: "user/groups", only: Cloud, serve: (*Server).getUserGroups},
		{method: get, template: "groups/picker", serve: (*Server).pickGroups},
		{method: get, template: "group/bulk", only: Cloud, serve: (*Server).bulkGroups},
		{method: get, template: "mypermissions", serve: (*Server).getMyPermissions},
		{method: get, template: "project/{project}", serve: (*Server).getProject},
		{method: get, template: "project/{project}/statuses", serve: (*Server).getProjectStatuses},
		{method: get, template: "field", serve: (*Server).getFields},
		{method: post, template: "field", serve: (*Server).postField},
		{method: get, template: "field/search", only: Cloud, serve: (*Server).searchFields},
		{method: put, template: "field/{field}", only: Cloud, serve: (*Server).putField},
		{method: get, template: "field/{field}/context", only: Cloud, serve: (*Server).getContexts},
		{method: post, template: "field/{field}/context", only: Cloud, serve: (*Server).postContext},
		{method: get, template: "field/{field}/context/projectmapping", only: Cloud, serve: (*Server).getContextProjects},
		{method: get, template: "field/{field}/context/issuetypemapping", only: Cloud, serve: (*Server).getContextTypes},
		{method: put, template: "field/{field}/context/{context}/issuetype", only: Cloud, serve: (*Server).putContextTypes},
		{method: put, template: "field/{field}/context/{context}/project", only: Cloud, serve: (*Server).putContextProjects},
		{method: get, template: "config/fieldschemes/projects", only: Cloud, serve: (*Server).getSchemeProjects},
		{method: put, template: "config/fieldschemes/fields", only: Cloud, serve: (*Server).putSchemeFields},
		{method: get, template: "config/fieldschemes/{scheme}/fields", only: Cloud, serve: (*Server).getSchemeFields},
		{method: get, template: "customFields", only: DataCenter, serve: (*Server).getCustomFields},
		{method: get, template: "screens", serve: (*Server).getScreens},
		{method: post, template: "screens/addToDefault/{field}", serve: (*Server).postDefaultScreen},
		{method: get, template: "screens/{screen}/tabs", serve: (*Server).getTabs},
		{method: get, template: "screens/{screen}/tabs/{tab}/fields", serve: (*Server).getTabFields},
		{method: post, template: "screens/{screen}/tabs/{tab}/fields", serve: (*Server).postTabField},
		{method: get, template: "issuetypescreenscheme/project", only: Cloud, serve: (*Server).getProjectScreenSchemes},
		{method: get, template: "issuetypescreenscheme/mapping", only: Cloud, serve: (*Server).getScreenSchemeMapping},
		{method: get, template: "screenscheme", only: Cloud, serve: (*Server).getScreenSchemes},
		{method: get, template: "/rest/pat/latest/tokens", only: DataCenter, serve: (*Server).getTokens},
		{method: get, template: "issue/createmeta/{project}/issuetypes", serve: (*Server).getCreateMeta},
		{method: get, template: "issue/createmeta/{project}/issuetypes/{type}", serve: (*Server).getCreateMetaFields},

		{method: get, template: "search/jql", only: Cloud, serve: (*Server).getSearchJQL},
		{method: post, template: "search/jql", only: Cloud, serve: (*Server).postSearchJQL},
		{method: get, template: "search", serve: (*Server).getSearch},
		{method: post, template: "search", serve: (*Server).postSearch},

		{method: post, template: "issue", serve: (*Server).postIssue},
		{method: post, template: "issue/bulkfetch", only: Cloud, serve: (*Server).postBulkFetch},
		{method: get, template: "issue/{issue}", serve: (*Server).getIssue},
		{method: put, template: "issue/{issue}", serve: (*Server).putIssue},
		{method: get, template: "issue/{issue}/changelog", only: Cloud, serve: (*Server).getChangelog},
		{method: get, template: "issue/{issue}/editmeta", serve: (*Server).getEditMeta},
		{method: get, template: "issue/{issue}/transitions", serve: (*Server).getTransitions},
		{method: post, template: "issue/{issue}/transitions", serve: (*Server).postTransition},
		{method: get, template: "issue/{issue}/properties", serve: (*Server).getProperties},
		{method: get, template: "issue/{issue}/properties/{property}", serve: (*Server).getProperty},
		{method: put, template: "issue/{issue}/properties/{property}", serve: (*Server).putProperty},
		{method: del, template: "issue/{issue}/properties/{property}", serve: (*Server).deleteProperty},
		{method: get, template: "issue/{issue}/comment", serve: (*Server).getComments},
		{method: post, template: "issue/{issue}/comment", serve: (*Server).postComment},
		{method: get, template: "issue/{issue}/comment/{comment}", serve: (*Server).getComment},
	}
}

// route finds the endpoint of a call. Where there is none, allowed are the methods that the path
// would take.
func (s *Server) route(r *http.Request) (found *endpoint, vars map[string]string, allowed []string) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), s.cfg.BasePath)
	if !ok {
		return nil, nil, nil
	}
	segments := strings.Split(path, "/")
	for _, e := range endpoints() {
		if e.only != "" && e.only != s.cfg.Deployment {
			continue
		}
		vars, ok := match(strings.Split(e.path(), "/"), segments)
		switch {
		case !ok:
		case e.method == r.Method:
			return &e, vars, nil
		default:
			allowed = append(allowed, e.method)
		}
	}
	return nil, nil, allowed
}

func match(template, path []string) (vars map[string]string, ok bool) {
	if len(template) != len(path) {
		return nil, false
	}
	vars = map[string]string{}
	for i, want := range template {
		got, err := url.PathUnescape(path[i])
		name, variable := strings.CutPrefix(want, "{")
		switch {
		case err != nil || got == "" && want != "":
			return nil, false
		case variable:
			vars[strings.TrimSuffix(name, "}")] = got
		case got != want:
			return nil, false
		}
	}
	return vars, true
}
