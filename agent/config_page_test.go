package agent

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documentedVariable is one variable as CONFIGURATION.md or the code describes it.
type documentedVariable struct {
	Name, Default string // Default is "required" for a variable that has to be set.
	Secret        bool
}

// TestThePageOfTheVariablesTellsWhatThereIs holds deploy/CONFIGURATION.md to the code: the same
// variables in the same order, with the same defaults.
func TestThePageOfTheVariablesTellsWhatThereIs(t *testing.T) {
	t.Parallel()
	var inCode []documentedVariable
	for _, s := range settings(new(Config)) {
		v := documentedVariable{Name: s.name, Default: s.tag.Get("default"), Secret: s.secret()}
		if s.tag.Get("required") != "" {
			require.Empty(t, v.Default, s.name)
			v.Default = "required"
		}
		inCode = append(inCode, v)
	}
	page, err := os.ReadFile("../deploy/CONFIGURATION.md")
	require.NoError(t, err)
	var onPage []documentedVariable
	row := regexp.MustCompile("(?m)^\\| `([A-Z_]+)`( †)? \\| (?:(required)|`([^`|]+)`)? ?\\| [^|]+ \\|$")
	for _, columns := range row.FindAllStringSubmatch(string(page), -1) {
		onPage = append(onPage, documentedVariable{
			Name: columns[1], Default: columns[3] + columns[4], Secret: columns[2] != "",
		})
	}
	require.Equal(t, inCode, onPage)
	require.Len(t, onPage, strings.Count(string(page), "\n| `"), "a row that cannot be read")
}
