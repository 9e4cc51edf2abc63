package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/replica"
)

// playTime bounds the whole test in the browser, far above what it takes.
const playTime = 3 * time.Minute

// TestTheBoardInABrowser plays as a visitor does: a real browser, real mouse and key events, two
// real agents.
func TestTheBoardInABrowser(t *testing.T) {
	t.Parallel()
	browser := findChromium(t)
	agent, err := replica.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	w := startWorld(t, agent)
	v := openPage(t, browser, w.board.url)

	v.makeRequest("carol@example.com", "month-end figures")
	first := v.card("carol@example.com requested db-admin")
	v.waitText(`.column[data-status="Pending"] .card[data-key="`+first+`"]`, "the agent moved it here")
	v.drag(first, "Approved")
	v.waitState("carol", "approved")
	v.waitText("#requests", "by bob in Jira")

	v.makeRequest("erin@example.com", "restore drill")
	second := v.card("erin@example.com requested db-admin")
	v.waitIn(second, "Pending")
	v.click(`.replica[data-key="agent 1"] .kill`)
	v.wait(`document.querySelector('.replica[data-key="agent 1"]').dataset.role === "gone"`)
	v.drag(second, "Denied")
	v.wait(`document.querySelector('#lag-decision').classList.contains("waiting")`)
	v.wait(`document.querySelector('.replica[data-key="agent 2"]').dataset.role === "leads"`)
	v.waitState("erin", "denied")
	v.wait(`document.querySelector("#step-kill").classList.contains("done")`)
	v.click(`.replica[data-key="agent 1"] .restart`)
	v.wait(`document.querySelector('.replica[data-key="agent 1"]').dataset.role === "standby"`)

	v.makeRequest("alice@example.com", "on call this week")
	own := v.card("alice@example.com requested db-admin")
	v.waitIn(own, "Pending")
	v.click(`.actors label:has(input[value="alice"])`)
	v.drag(own, "Approved")
	refused := `.column[data-status="Pending"] .card[data-key="` + own + `"] .refused:not([hidden])`
	v.waitText(refused, "who made the request")
	v.waitText(refused, "Put back from Approved")
	v.waitText("#announce", own+" was put back to Pending")
	v.waitState("alice", "pending")
	v.screenshot("board.png")

	v.click(`.actors label:has(input[value="bob"])`)
	v.moveByKeyboard(own)
	v.waitState("alice", "denied")

	v.openByKeyboard(own)
	v.waitText("#issue-comments", "who made the request")
	v.waitText("#issue-history", "Pending → Denied")
	v.comment("That was for you, Alice")
	v.waitText("#issue-comments", "That was for you, Alice")
	v.run(chromedp.KeyEvent(kb.Escape))
	v.wait(`!document.querySelector("#issue").open`)

	v.onPhone()
	v.dragByFinger(first, "Pending")
	v.waitText(`.card[data-key="`+first+`"] .refused:not([hidden])`, "Teleport has already settled this request")
	v.wait(`document.querySelector(".card.changed") && document.getAnimations().length === 0`) // motion is unwanted
	v.screenshot("board-phone.png")
	require.Empty(t, v.complaints(), "the browser's console")
}

// findChromium is the path of a Chromium. Without one there is nothing to test with, which CI does
// not accept.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const remedy = "no Chromium to test the demo's page with: apt-get install chromium (Debian, Ubuntu), or put " +
		"chromium or google-chrome on the PATH"
	if os.Getenv("CI") == "true" {
		t.Fatal(remedy)
	}
	t.Skip(remedy)
	return ""
}

// startWorld is a demo without the tour.
func startWorld(t *testing.T, agent string) *world {
	t.Helper()
	out := new(output)
	w := &world{screen: newScreen(out, false)}
	t.Cleanup(func() {
		require.NoError(t, w.close())
		if t.Failed() {
			t.Log(out)
		}
	})
	require.NoError(t, w.start(t.Context(), agent))
	return w
}

// visitor is a person at the page. Each method fails the test if what it does or waits for is not
// possible.
type visitor struct {
	t   *testing.T
	ctx context.Context

	mu   sync.Mutex
	said []string // errors on the browser's console
}

func openPage(t *testing.T, browser, url string) *visitor {
	t.Helper()
	bounded, stop := context.WithTimeout(t.Context(), playTime)
	t.Cleanup(stop)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's sandbox refuses root
	}
	allocated, free := chromedp.NewExecAllocator(bounded, options...)
	t.Cleanup(free)
	// What chromedp calls errors are events of a newer Chromium than it knows.
	ctx, closeTab := chromedp.NewContext(allocated, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(closeTab)
	v := &visitor{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, v.listen)
	v.run(
		log.Enable(),
		runtime.Enable(),
		chromedp.EmulateViewport(1360, 900),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}}),
		chromedp.Navigate(url),
		chromedp.WaitVisible(`.replica[data-role="leads"]`),
		chromedp.WaitVisible(`.replica[data-role="standby"]`),
	)
	return v
}

// listen notes what the browser complains of.
func (v *visitor) listen(event any) {
	var complaint string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		complaint = e.ExceptionDetails.Error()
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
			complaint = fmt.Sprintf("%s: %s", e.Type, e.Args[0].Value)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError {
			complaint = e.Entry.Text + " " + e.Entry.URL
		}
	}
	if complaint != "" {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.said = append(v.said, complaint)
	}
}

func (v *visitor) complaints() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.said
}

func (v *visitor) run(actions ...chromedp.Action) {
	v.t.Helper()
	if err := chromedp.Run(v.ctx, actions...); err != nil {
		v.screenshotOfFailure()
		require.NoError(v.t, errors.Join(err, fmt.Errorf("console: %q", v.complaints())))
	}
}

// wait returns once the expression is true in the page.
func (v *visitor) wait(expression string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, patience)
	defer cancel()
	err := chromedp.Run(
		ctx,
		chromedp.Poll("Boolean("+expression+")", nil, chromedp.WithPollingTimeout(0), chromedp.WithPollingMutation()),
	)
	if err != nil {
		v.screenshotOfFailure()
		require.NoError(v.t, err, "waiting for %s", expression)
	}
}

func (v *visitor) waitText(selector, text string) {
	v.t.Helper()
	v.wait(fmt.Sprintf("document.querySelector(%q)?.textContent.includes(%q)", selector, text))
}

func (v *visitor) waitIn(card, column string) {
	v.t.Helper()
	v.wait(fmt.Sprintf(`document.querySelector('.column[data-status=%q] .card[data-key=%q]')`, column, card))
}

// waitState waits until Teleport's panel shows the newest request of a user in a state.
func (v *visitor) waitState(user, state string) {
	v.t.Helper()
	v.wait(
		fmt.Sprintf(
			`[...document.querySelectorAll(".request")].find((r) => r.querySelector("b").textContent === %q)?.dataset.state === %q`,
			user,
			state,
		),
	)
}

func (v *visitor) click(selector string) {
	v.t.Helper()
	v.run(chromedp.Click(selector, chromedp.ByQuery))
}

func (v *visitor) makeRequest(user, reason string) {
	v.t.Helper()
	v.run(
		chromedp.SetValue(`#request [name=user]`, user, chromedp.ByQuery),
		chromedp.SetValue(`#request [name=reason]`, reason, chromedp.ByQuery),
		chromedp.Click(`#request .primary`, chromedp.ByQuery),
	)
}

// card waits for the card with this summary, and returns its key.
func (v *visitor) card(summary string) (key string) {
	v.t.Helper()
	find := fmt.Sprintf(
		`[...document.querySelectorAll(".card .open")].find((c) => c.getAttribute("aria-label").endsWith(%q))`,
		summary,
	)
	v.wait(find)
	v.run(chromedp.Evaluate(find+`.closest(".card").dataset.key`, &key))
	return key
}

// spot is the middle of an element, in the window, once nothing moves there any more.
func (v *visitor) spot(selector string) (x, y float64) {
	v.t.Helper()
	v.run(chromedp.Evaluate(fmt.Sprintf(`document.querySelector(%q).scrollIntoView({block: "nearest"})`, selector), nil))
	v.wait(
		`document.getAnimations().every((a) => a.playState !== "running" || a instanceof CSSAnimation)`,
	) // of CSS is only the light on what has changed
	var at [2]float64
	v.run(
		chromedp.Evaluate(
			fmt.Sprintf(
				`(() => { const b = document.querySelector(%q).getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2] })()`,
				selector,
			),
			&at,
		),
	)
	return at[0], at[1]
}

// drag moves a card to a column with the mouse.
func (v *visitor) drag(card, column string) {
	v.t.Helper()
	toX, toY := v.spot(fmt.Sprintf(".column[data-status=%q]", column))
	fromX, fromY := v.spot(fmt.Sprintf(".card[data-key=%q] .open", card))
	mouse := func(kind input.MouseType, x, y float64) chromedp.Action {
		return input.DispatchMouseEvent(kind, x, y).WithButton(input.Left).WithButtons(1).WithClickCount(1)
	}
	v.run(mouse(input.MousePressed, fromX, fromY))
	for step := 1.0; step <= 5; step++ {
		v.run(mouse(input.MouseMoved, fromX+(toX-fromX)*step/5, fromY+(toY-fromY)*step/5))
	}
	v.wait(
		fmt.Sprintf(
			`document.body.classList.contains("dragging") && document.querySelector('.column.over')?.dataset.status === %q`,
			column,
		),
	)
	v.run(mouse(input.MouseReleased, toX, toY))
	v.waitIn(card, column)
}

// dragByFinger moves a card to a column by its handle, on a phone.
func (v *visitor) dragByFinger(card, column string) {
	v.t.Helper()
	toX, toY := v.spot(fmt.Sprintf(".column[data-status=%q]", column))
	fromX, fromY := v.spot(fmt.Sprintf(".card[data-key=%q] .grip", card))
	touch := func(kind input.TouchType, points ...*input.TouchPoint) chromedp.Action {
		return input.DispatchTouchEvent(kind, points)
	}
	v.run(touch(input.TouchStart, &input.TouchPoint{X: fromX, Y: fromY}))
	for step := 1.0; step <= 5; step++ {
		v.run(touch(input.TouchMove, &input.TouchPoint{X: fromX + (toX-fromX)*step/5, Y: fromY + (toY-fromY)*step/5}))
	}
	v.wait(fmt.Sprintf(`document.querySelector('.column.over')?.dataset.status === %q`, column))
	v.run(touch(input.TouchEnd))
}

// moveByKeyboard denies a pending card without a mouse: it is reached with Tab from the one who
// acts, picked up, and laid two columns further.
func (v *visitor) moveByKeyboard(card string) {
	v.t.Helper()
	v.focusByTab(card)
	v.run(chromedp.KeyEvent(" "))
	v.waitText("#announce", "Picked up "+card)
	v.run(chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowRight))
	v.waitText("#announce", "Over Denied.")
	v.run(chromedp.KeyEvent(kb.Enter))
	v.waitIn(card, "Denied")
	v.wait(fmt.Sprintf(`document.activeElement.closest(".card")?.dataset.key === %q`, card)) // the focus has gone with it
}

func (v *visitor) focusByTab(card string) {
	v.t.Helper()
	focused := fmt.Sprintf(`document.activeElement.closest(".card")?.dataset.key === %q`, card)
	for range 30 {
		var there bool
		if v.run(chromedp.KeyEvent(kb.Tab), chromedp.Evaluate(focused, &there)); there {
			var outline string
			v.run(chromedp.Evaluate(`getComputedStyle(document.activeElement.closest(".card")).outlineStyle`, &outline))
			require.Equal(v.t, "solid", outline, "the focus is visible")
			return
		}
	}
	require.Fail(v.t, "the card "+card+" cannot be reached with Tab")
}

func (v *visitor) openByKeyboard(card string) {
	v.t.Helper()
	v.run(chromedp.KeyEvent(kb.Enter))
	v.wait(
		fmt.Sprintf(
			`document.querySelector("#issue").open && document.querySelector("#issue-title").textContent.startsWith(%q)`,
			card+":",
		),
	)
}

func (v *visitor) comment(text string) {
	v.t.Helper()
	v.run(chromedp.SendKeys("#comment-text", text+kb.Enter, chromedp.ByQuery))
}

// onPhone shows the page as a phone in dark mode and with reduced motion does, and expects it to
// fit.
func (v *visitor) onPhone() {
	v.t.Helper()
	features := []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: "dark"},
		{Name: "prefers-reduced-motion", Value: "reduce"},
	}
	v.run(
		emulation.SetEmulatedMedia().WithFeatures(features),
		chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch),
		chromedp.Evaluate("scrollTo(0, 0)", nil),
	)
	v.wait(`document.documentElement.clientWidth === 390`)
	v.wait(`document.documentElement.scrollWidth <= 390`)
	v.wait(`getComputedStyle(document.body).backgroundColor === "rgb(18, 21, 29)"`)
}

// screenshot keeps a picture of the page in the directory that DEMO_SCREENSHOTS names, if any;
// those of the README and the guide are made so.
func (v *visitor) screenshot(name string) {
	v.t.Helper()
	dir := os.Getenv("DEMO_SCREENSHOTS")
	if dir == "" {
		return
	}
	v.wait(`!document.querySelector(".changed")`)
	var picture []byte
	v.run(chromedp.CaptureScreenshot(&picture))
	require.NoError(v.t, os.WriteFile(filepath.Join(dir, name), picture, 0o600))
}

// screenshotOfFailure keeps what the page looked like where something was not possible.
func (v *visitor) screenshotOfFailure() {
	dir := os.Getenv("DEMO_SCREENSHOTS")
	var picture []byte
	if dir == "" || chromedp.Run(v.ctx, chromedp.CaptureScreenshot(&picture)) != nil {
		return
	}
	_ = os.WriteFile(
		filepath.Join(dir, strings.ReplaceAll(v.t.Name(), "/", "-")+".failed.png"),
		picture,
		0o600,
	) // the failure itself is told
}
