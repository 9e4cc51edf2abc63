package teleportsim

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
)

const (
	// maxPluginDataBytes bounds one row, with the entries of all plugins together.
	maxPluginDataBytes = 1_000_000
	// pluginDataGrace is how long a row outlives the access that its request is about.
	pluginDataGrace = time.Hour
)

// checkPluginDataKind refuses what plugins cannot keep data on.
func checkPluginDataKind(kind string) error {
	if kind != types.KindAccessRequest && kind != types.KindAccessList {
		return trace.BadParameter("unsupported resource kind %q", kind)
	}
	return nil
}

// findPluginData answers whole rows: a filter by plugin selects rows and does not trim them. s.mu
// is held.
func (s *Server) findPluginData(filter types.PluginDataFilter) []*types.PluginDataV3 {
	var found []*types.PluginDataV3
	for id := range s.pluginData {
		if row := s.pluginDataRow(id); row != nil && filter.Match(row) {
			found = append(found, row)
		}
	}
	slices.SortFunc(found, func(a, b *types.PluginDataV3) int {
		if a.GetName() < b.GetName() {
			return -1
		}
		return 1
	})
	return found
}

// pluginDataRow is a copy of a request's row, nil when there is none or it has outlived its time.
// s.mu is held.
func (s *Server) pluginDataRow(id string) *types.PluginDataV3 {
	row, ok := s.pluginData[id]
	if !ok || s.now().After(row.Expiry()) {
		return nil
	}
	duplicate := *row
	duplicate.Spec.Entries = make(map[string]*types.PluginDataEntry, len(row.Spec.Entries))
	for plugin, entry := range row.Spec.Entries {
		data := make(map[string]string, len(entry.Data))
		for key, value := range entry.Data {
			data[key] = value
		}
		duplicate.Spec.Entries[plugin] = &types.PluginDataEntry{Data: data}
	}
	return &duplicate
}

// updatePluginData applies an update in one step. A row can be made only while its request exists,
// and lives on by itself. s.mu is held.
func (s *Server) updatePluginData(params types.PluginDataUpdateParams) error {
	if params.Resource == "" {
		return trace.BadParameter("missing resource name")
	}
	row := s.pluginDataRow(params.Resource)
	if row == nil {
		request, ok := s.requests[params.Resource]
		if !ok || params.Kind != types.KindAccessRequest {
			return trace.NotFound("no access request matching %q", params.Resource)
		}
		data, err := types.NewPluginData(params.Resource, params.Kind)
		if err != nil {
			return trace.Wrap(err)
		}
		row = data.(*types.PluginDataV3)
		row.SetExpiry(request.GetAccessExpiry().Add(pluginDataGrace))
	}
	if err := row.Update(params); err != nil {
		return trace.Wrap(err)
	}
	// Teleport measures the row as it stores it, which is JSON too.
	stored, err := json.Marshal(row)
	if err != nil {
		return trace.Wrap(err)
	}
	if len(stored) > maxPluginDataBytes {
		return trace.BadParameter("plugin data size limit exceeded")
	}
	row.SetRevision(uuid.NewString())
	s.pluginData[params.Resource] = row
	s.notify()
	return nil
}
