package integration

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// guaranteesPage lists promises as bullets, each with a bullet below it for every test that proves
// it.
const guaranteesPage = "GUARANTEES.md"

var (
	promiseLine  = regexp.MustCompile(`^- \S`)
	proofLine    = regexp.MustCompile("^  - Test: `([^`]+_test\\.go)` `((?:Test|Fuzz)\\w+)`$")
	exceptedLine = regexp.MustCompile(`^  - Not promised: \S`)
)

// unproved returns what is wrong with a page of guarantees, each problem with its line: a promise
// that names no test, a test that does not exist, a bullet that is neither of the three kinds.
func unproved(page string, module fs.FS) (problems []string) {
	tests := make(map[string][]string) // those of each file that was read
	promise, proofs, promises := 0, 0, 0
	problem := func(line int, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("%s:%d: ", guaranteesPage, line)+fmt.Sprintf(format, args...))
	}
	end := func() {
		if promise > 0 && proofs == 0 {
			problem(promise, "the promise names no test")
		}
		promise, proofs = 0, 0
	}
	for i, text := range strings.Split(page, "\n") {
		line := i + 1
		proof := proofLine.FindStringSubmatch(text)
		switch {
		case strings.HasPrefix(text, "#"):
			end()
		case promiseLine.MatchString(text):
			end()
			promise = line
			promises++
		case proof != nil && promise > 0:
			proofs++
			file, name := proof[1], proof[2]
			if _, read := tests[file]; !read {
				found, err := testsIn(module, file)
				if err != nil {
					problem(line, "%s", err)
				}
				tests[file] = found
			}
			if len(tests[file]) > 0 && !slices.Contains(tests[file], name) {
				problem(line, "%s has no test %s%s", file, name, whereIs(module, name))
			}
		case exceptedLine.MatchString(text) && promise > 0:
		case strings.HasPrefix(strings.TrimSpace(text), "- "):
			problem(line, "neither a promise nor what proves or limits one: %q", text)
		}
	}
	end()
	if promises == 0 {
		problem(1, "the page promises nothing")
	}
	return problems
}

// testsIn are the names of the tests in a file of the module.
func testsIn(module fs.FS, file string) (names []string, err error) {
	source, err := fs.ReadFile(module, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s", file)
	}
	if err != nil {
		return nil, err
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, declared := range parsed.Decls {
		if f, ok := declared.(*ast.FuncDecl); ok && f.Recv == nil && isTest(f.Type) {
			names = append(names, f.Name.Name)
		}
	}
	return names, nil
}

// isTest reports whether a function takes a *testing.T or a *testing.F and nothing else.
func isTest(f *ast.FuncType) bool {
	if f.Params.NumFields() != 1 || f.Results.NumFields() > 0 {
		return false
	}
	pointer, ok := f.Params.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	kind, ok := pointer.X.(*ast.SelectorExpr)
	return ok && (kind.Sel.Name == "T" || kind.Sel.Name == "F")
}

// whereIs tells of files that have a test of the name, for a test that was moved.
func whereIs(module fs.FS, name string) (told string) {
	_ = fs.WalkDir(module, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && strings.HasPrefix(path.Base(file), ".") && file != "." {
			return fs.SkipDir
		}
		if strings.HasSuffix(file, "_test.go") {
			if found, _ := testsIn(module, file); slices.Contains(found, name) {
				told += "; " + file + " has one"
			}
		}
		return nil
	})
	return told
}

func TestGuarantees(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(guaranteesPage)
	require.NoError(t, err)
	require.Empty(t, strings.Join(unproved(string(page), os.DirFS("..")), "\n"))
}

func TestGuaranteesThatNothingProvesAreNamed(t *testing.T) {
	t.Parallel()
	source := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	module := fstest.MapFS{
		"a_test.go": source("package a\n" +
			"func TestA(t *testing.T) {}\nfunc TestHelper(n int) {}\nfunc FuzzA(f *testing.F) {}\n"),
		"moved/b_test.go": source("package b\nfunc TestB(t *testing.T) {}\n"),
		"torn_test.go":    source("package torn\nfunc TestTorn("),
	}
	const (
		promise = "# Page\n\n- One keeps\n  its word.\n" // lines 1 to 4
		more    = "- Two.\n"
		limit   = "  - Not promised: more.\n"
	)
	proof := func(file, name string) string { return "  - Test: `" + file + "` `" + name + "`\n" }
	good := proof("a_test.go", "TestA")
	for name, test := range map[string]struct {
		page string
		want []string
	}{
		"all is well":           {promise + good + proof("a_test.go", "FuzzA") + limit, nil},
		"no test":               {promise + limit, []string{"3: the promise names no test"}},
		"no test, and another":  {promise + more + good, []string{"3: the promise names no test"}},
		"no test, and a header": {promise + "## Next\n\n" + more + good, []string{"3: the promise names no test"}},
		"no such test":          {promise + proof("a_test.go", "TestZ"), []string{"5: a_test.go has no test TestZ"}},
		"a test that was moved": {
			promise + proof("a_test.go", "TestB"), []string{"5: a_test.go has no test TestB; moved/b_test.go has one"},
		},
		"a function, no test": {promise + proof("a_test.go", "TestHelper"), []string{"5: a_test.go has no test TestHelper"}},
		"no such file":        {promise + proof("b_test.go", "TestB"), []string{"5: there is no file b_test.go"}},
		"a file that is torn": {promise + proof("torn_test.go", "TestTorn"), []string{"5: torn_test.go:2:15: expected"}},
		"a proof in other words": {
			promise + "  - see TestA\n",
			[]string{"5: neither a promise nor what proves or limits one: ", "3: the promise names no test"},
		},
		"a proof of nothing": {"# Page\n" + good, []string{"2: neither a promise", "1: the page promises nothing"}},
		"no promise":         {"# Page\n", []string{"1: the page promises nothing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := unproved(test.page, module)
			require.Len(t, got, len(test.want), "%q", got)
			for i, want := range test.want {
				require.True(t, strings.HasPrefix(got[i], guaranteesPage+":"+want), got[i])
			}
		})
	}
}
