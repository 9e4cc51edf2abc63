package jira

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"teleport-jira-agent/sync"
)

// This file finds the screens that should show the field.

type namedJSON struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// screensFor are the screens that should show the field, and whether they do.
func (c *Client) screensFor(ctx context.Context, fieldID string, seen sight) ([]screenSight, error) {
	if c.deployment == DataCenter {
		return c.likelyScreens(ctx, fieldID)
	}
	create, edit, err := c.projectScreens(ctx, seen.project.ID, seen.kind.ID)
	if err != nil || create == 0 {
		return nil, err
	}
	named, err := c.namedScreens(ctx, create, edit)
	if err != nil {
		return nil, err
	}
	var all []screenSight
	for _, screen := range named {
		s, _, err := c.readScreen(ctx, screen, fieldID)
		if err != nil {
			return nil, err
		}
		s.create, s.edit = screen.ID == create, screen.ID == edit
		all = append(all, s)
	}
	return all, nil
}

// projectScreens goes Cloud's way from a project and an issue type to the screens on which issues
// are created and edited. Zero: it does not tell.
func (c *Client) projectScreens(ctx context.Context, projectID, typeID string) (create, edit int64, err error) {
	r := request{op: "find the screens of project " + c.cfg.Project, method: http.MethodGet, scope: sync.ScopeSide}
	r.endpoint, r.query = "issuetypescreenscheme/project", url.Values{"projectId": {projectID}}
	schemes, err := readPages[struct {
		Scheme struct {
			ID string `json:"id"`
		} `json:"issueTypeScreenScheme"`
	}](ctx, c, r)
	if err != nil || len(schemes) == 0 {
		return 0, 0, err
	}
	r.endpoint, r.query = "issuetypescreenscheme/mapping", url.Values{"issueTypeScreenSchemeId": {schemes[0].Scheme.ID}}
	entries, err := readPages[struct {
		TypeID         string `json:"issueTypeId"`
		ScreenSchemeID string `json:"screenSchemeId"`
	}](ctx, c, r)
	if err != nil {
		return 0, 0, err
	}
	var scheme string
	for _, e := range entries {
		if e.TypeID == typeID || e.TypeID == "default" && scheme == "" {
			scheme = e.ScreenSchemeID
		}
	}
	r.endpoint, r.query = "screenscheme", url.Values{"id": {scheme}}
	found, err := readPages[struct {
		Screens map[string]int64 `json:"screens"`
	}](ctx, c, r)
	if err != nil || len(found) == 0 {
		return 0, 0, err
	}
	screens := found[0].Screens
	return cmp.Or(screens["create"], screens["default"]), cmp.Or(screens["edit"], screens["default"]), nil
}

// namedScreens are screens with their names, each once; one that Jira does not list goes by its id.
func (c *Client) namedScreens(ctx context.Context, ids ...int64) ([]namedJSON, error) {
	var all []namedJSON
	for n, id := range ids {
		if id == 0 || slices.Contains(ids[:n], id) {
			continue
		}
		text := strconv.FormatInt(id, 10)
		r := request{op: "read screen " + text, method: http.MethodGet, endpoint: "screens", scope: sync.ScopeSide}
		r.query = url.Values{"id": {text}}
		named, err := readPages[namedJSON](ctx, c, r)
		if err != nil {
			return nil, err
		}
		all = append(all, append(named, namedJSON{ID: id, Name: text})[0])
	}
	return all, nil
}

// defaultScreen is what Jira calls the screen of projects that have none of their own.
const defaultScreen = "Default Screen"

// likelyScreens are Data Center's, which does not tell which project uses which: those that Jira
// named after the project when it made them and that have a summary, as create and edit screens
// must; without any, the default screen.
func (c *Client) likelyScreens(ctx context.Context, fieldID string) ([]screenSight, error) {
	all, err := c.allScreens(ctx)
	if err != nil {
		return nil, err
	}
	var likely, fallback []screenSight
	for _, screen := range all {
		own := strings.HasPrefix(screen.Name, c.cfg.Project+": ")
		if !own && screen.Name != defaultScreen {
			continue
		}
		s, summary, err := c.readScreen(ctx, screen, fieldID)
		switch {
		case err != nil:
			return nil, err
		case own && summary:
			likely = append(likely, s)
		case !own:
			fallback = append(fallback, s)
		}
	}
	if len(likely) == 0 {
		likely = fallback
	}
	return likely, nil
}

// allScreens reads Data Center's list, which comes by offset without a total.
func (c *Client) allScreens(ctx context.Context) ([]namedJSON, error) {
	r := request{op: "list the screens", method: http.MethodGet, endpoint: "screens", scope: sync.ScopeSide}
	var all []namedJSON
	for range maxListPages {
		var some []namedJSON
		r.query = url.Values{"startAt": {strconv.Itoa(len(all))}, "maxResults": {"100"}}
		if _, err := c.do(ctx, r, &some); err != nil {
			return nil, err
		}
		fresh := slices.DeleteFunc(some, func(n namedJSON) bool {
			return slices.ContainsFunc(all, func(known namedJSON) bool { return known.ID == n.ID })
		})
		if all = append(all, fresh...); len(fresh) == 0 { // also where startAt is not heeded
			return all, nil
		}
	}
	return nil, failure(r, fmt.Errorf("the list has no end after %d pages", maxListPages))
}

// readScreen reads whether a screen shows the field, on whichever tab, and whether it shows a
// summary.
func (c *Client) readScreen(
	ctx context.Context,
	screen namedJSON,
	fieldID string,
) (s screenSight, summary bool, err error) {
	s = screenSight{id: screen.ID, name: screen.Name}
	r := request{
		op: fmt.Sprintf("read screen %q", screen.Name), method: http.MethodGet, endpoint: "screens/{screen}/tabs",
		vars: map[string]string{"screen": strconv.FormatInt(screen.ID, 10)}, scope: sync.ScopeSide,
	}
	var tabs []namedJSON
	if _, err := c.do(ctx, r, &tabs); err != nil {
		return s, false, err
	}
	for n, tab := range tabs {
		if n == 0 {
			s.tab = tab.ID
		}
		r.endpoint = "screens/{screen}/tabs/{tab}/fields"
		r.vars = map[string]string{"screen": r.vars["screen"], "tab": strconv.FormatInt(tab.ID, 10)}
		var fields []struct {
			ID string `json:"id"`
		}
		if _, err := c.do(ctx, r, &fields); err != nil {
			return s, false, err
		}
		for _, f := range fields {
			s.has = s.has || f.ID == fieldID && fieldID != ""
			summary = summary || f.ID == "summary"
		}
	}
	return s, summary, nil
}
