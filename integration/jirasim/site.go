package jirasim

import (
	"net/http"
	"slices"
)

func (s *Server) getServerInfo(q *request) (answer, error) {
	return answer{status: http.StatusOK, body: object{
		"baseUrl":        "http://" + q.Host + s.cfg.BasePath,
		"version":        s.cfg.Version,
		"deploymentType": s.cfg.Deployment,
		"serverTime":     s.timestamp(s.now()),
		"serverTitle":    "Jira",
	}}, nil
}

func (s *Server) getMyself(q *request) (answer, error) {
	return answer{status: http.StatusOK, body: s.userJSON(q, q.user.Name)}, nil
}

func (s *Server) getMyPermissions(q *request) (answer, error) {
	known := append(AllPermissions(), Administer, AdministerProjects)
	asked := list(q.query["permissions"])
	if len(asked) == 0 {
		if s.cfg.Deployment == Cloud {
			return answer{}, refuse(http.StatusBadRequest, "The 'permissions' query parameter is required.")
		}
		asked = known
	}
	if project := q.query.Get("projectKey"); project != "" {
		if _, err := s.visibleProject(q.user, project); err != nil {
			return answer{}, err
		}
	}
	permissions := object{}
	for _, key := range asked {
		if !slices.Contains(known, key) {
			return answer{}, refuse(http.StatusBadRequest, "Unrecognized permissions: %s", key)
		}
		typ := "PROJECT"
		if key == Administer || key == BrowseUsers {
			typ = "GLOBAL"
		}
		permissions[key] = object{"key": key, "name": key, "type": typ, "description": "", "havePermission": can(q.user, key)}
	}
	return answer{status: http.StatusOK, body: object{"permissions": permissions}}, nil
}

func (s *Server) getProject(q *request) (answer, error) {
	p, err := s.visibleProject(q.user, q.vars["project"])
	if err != nil {
		return answer{}, err
	}
	o := s.projectJSON(q, p)
	if s.cfg.Deployment == Cloud {
		o["style"] = map[bool]string{false: "classic", true: "next-gen"}[p.TeamManaged]
	}
	types := make([]any, 0, len(s.setup.types))
	for _, t := range s.setup.types {
		types = append(types, s.typeJSON(q, t))
	}
	o["issueTypes"] = types
	return answer{status: http.StatusOK, body: o}, nil
}

func (s *Server) getProjectStatuses(q *request) (answer, error) {
	if _, err := s.visibleProject(q.user, q.vars["project"]); err != nil {
		return answer{}, err
	}
	types := make([]any, 0, len(s.setup.types))
	for _, t := range s.setup.types {
		statuses := make([]any, 0, len(s.setup.statuses))
		for _, status := range s.setup.statuses {
			if t.has(status.Name) {
				shown := s.statusJSON(q, status)
				if s.cfg.Deployment == Cloud {
					shown["untranslatedName"] = status.Name
				}
				statuses = append(statuses, shown)
			}
		}
		o := s.typeJSON(q, t)
		o["statuses"] = statuses
		types = append(types, o)
	}
	return answer{status: http.StatusOK, body: types}, nil
}

func (s *Server) getCreateMeta(q *request) (answer, error) {
	if _, err := s.visibleProject(q.user, q.vars["project"]); err != nil {
		return answer{}, err
	}
	types := make([]object, 0, len(s.setup.types))
	for _, t := range s.setup.types {
		types = append(types, s.typeJSON(q, t))
	}
	return s.metaPage(q, "issueTypes", types)
}

func (s *Server) getCreateMetaFields(q *request) (answer, error) {
	p, err := s.visibleProject(q.user, q.vars["project"])
	if err != nil {
		return answer{}, err
	}
	at := slices.IndexFunc(s.setup.types, func(t IssueType) bool { return t.ID == q.vars["type"] })
	if at < 0 {
		return answer{}, refuse(http.StatusNotFound, "No issue type could be found with id '%s'.", q.vars["type"])
	}
	fields := []object{
		{
			"fieldId":    "project",
			"key":        "project",
			"name":       "Project",
			"required":   true,
			"operations": []string{"set"},
			"schema":     object{"type": "project", "system": "project"},
		},
		{
			"fieldId":    "issuetype",
			"key":        "issuetype",
			"name":       "Issue Type",
			"required":   true,
			"operations": []string{},
			"schema":     object{"type": "issuetype", "system": "issuetype"},
		},
	}
	for _, f := range s.fields() {
		if s.onCreateScreen(f, p, s.setup.types[at]) {
			fields = append(fields, f.meta())
		}
	}
	return s.metaPage(q, "fields", fields)
}

// meta describes the field on a screen.
func (f field) meta() object {
	o := object{
		"fieldId": f.id, "key": f.id, "name": f.name, "required": f.required, "hasDefaultValue": f.initial != nil,
		"operations": []string{"set"}, "schema": f.schema(),
	}
	if f.initial != nil {
		o["defaultValue"] = f.initial
	}
	if len(f.options) > 0 {
		o["allowedValues"] = f.options
	}
	return o
}

// metaPage is a page of create metadata, which the deployments lay out differently.
func (s *Server) metaPage(q *request, name string, all []object) (answer, error) {
	startAt, maxResults, err := pageParams(q, 50, 200)
	if err != nil {
		return answer{}, err
	}
	shown := page(all, startAt, maxResults)
	o := object{"startAt": startAt, "maxResults": maxResults, "total": len(all)}
	if s.cfg.Deployment == Cloud {
		o[name] = shown
	} else {
		o["values"], o["isLast"] = shown, startAt+len(shown) >= len(all)
	}
	return answer{status: http.StatusOK, body: o}, nil
}
