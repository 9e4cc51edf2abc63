package jirasim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

func (s *Server) getComments(q *request) (answer, error) {
	r, err := s.visible(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	preset := 100
	if s.cfg.Deployment == DataCenter {
		preset = 50
	}
	startAt, maxResults, err := pageParams(q, preset, s.cfg.Caps.CommentPage)
	if err != nil {
		return answer{}, err
	}
	all := slices.Clone(r.now.Comments)
	switch order := strings.TrimSpace(q.query.Get("orderBy")); order { // a bare + in a URL is a space
	case "", "created", "+created":
	case "-created":
		slices.Reverse(all)
	default:
		return answer{}, refuse(http.StatusBadRequest, "Can not order by the field: %s.", order)
	}
	withProperties := slices.Contains(list(q.query["expand"]), "properties")
	comments := make([]any, 0, maxResults)
	for _, c := range page(all, startAt, maxResults) {
		comments = append(comments, s.commentJSON(q, r.now, c, withProperties))
	}
	return answer{status: http.StatusOK, body: object{
		"startAt": startAt, "maxResults": maxResults, "total": len(all), "comments": comments,
	}}, nil
}

func (s *Server) getComment(q *request) (answer, error) {
	r, err := s.visible(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	for _, c := range r.now.Comments {
		if c.ID == q.vars["comment"] {
			return answer{
				status: http.StatusOK,
				body:   s.commentJSON(q, r.now, c, slices.Contains(list(q.query["expand"]), "properties")),
			}, nil
		}
	}
	return answer{}, refuse(http.StatusNotFound, "Can not find a comment for the id: %s.", q.vars["comment"])
}

// remark is the body of POST comment. What only Jira sets is taken and ignored, as there.
type remark struct {
	Body         *string         `json:"body"`
	Properties   []property      `json:"properties"`
	Visibility   map[string]any  `json:"visibility"`
	Author       json.RawMessage `json:"author"`
	UpdateAuthor json.RawMessage `json:"updateAuthor"`
	ID           json.RawMessage `json:"id"`
	Self         json.RawMessage `json:"self"`
	Created      json.RawMessage `json:"created"`
	Updated      json.RawMessage `json:"updated"`
	JSDPublic    json.RawMessage `json:"jsdPublic"`
}

func (s *Server) postComment(q *request) (answer, error) {
	r, err := s.writable(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	var m remark
	if err := decode(q.body, &m); err != nil {
		return answer{}, err
	}
	if m.Body == nil {
		return answer{}, refuseField("comment", "Comment body can not be empty!")
	}
	properties, err := checkProperties(m.Properties)
	if err != nil {
		return answer{}, err
	}
	c, err := s.addComment(q.user, r, remark{Body: m.Body, Visibility: m.Visibility}, properties)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: s.commentJSON(q, r.now, c, true)}, nil
}

// checkText refuses a comment that Jira does not store.
func (s *Server) checkText(field, text string) error {
	switch problem := s.textProblem(text); {
	case strings.TrimSpace(text) == "":
		return refuseField(field, "Comment body can not be empty!")
	case problem != "":
		return refuseField(field, "%s", problem)
	}
	return s.storable(text)
}

func (s *Server) addComment(author *User, r *record, m remark, properties map[string]json.RawMessage) (Comment, error) {
	if !can(author, AddComments) {
		return Comment{}, refuseField("comment",
			"%s, you do not have the permission to comment on this issue.", author.DisplayName)
	}
	if err := s.checkText("comment", *m.Body); err != nil {
		return Comment{}, err
	}
	c := Comment{
		ID: s.site.newID(), Author: author.Name, UpdatedBy: author.Name, Body: *m.Body, Properties: properties,
		JSDPublic: !saysInternal(properties["sd.public.comment"]), Visibility: m.Visibility,
	}
	s.edit(r, func(i *Issue) {
		c.Created, c.Updated = i.Updated, i.Updated
		i.Comments = append(i.Comments, c)
	})
	return c, nil
}

// saysInternal reads the property by which a comment is kept from the customers of a service desk.
// Anything else leaves it public.
func saysInternal(property json.RawMessage) bool {
	var value struct {
		Internal bool `json:"internal"`
	}
	return json.Unmarshal(property, &value) == nil && value.Internal
}
