package teleport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-semver/semver"
	"github.com/google/uuid"
	"github.com/gravitational/teleport/api"
	"github.com/gravitational/teleport/api/client"
	userspb "github.com/gravitational/teleport/api/gen/proto/go/teleport/users/v1"
	"github.com/gravitational/teleport/api/types"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"

	"teleport-jira-agent/sync"
)

// The checks, in their order. Each needs those before the rights.
const (
	checkIdentity = "teleport.identity"
	checkAddress  = "teleport.address"
	checkVersion  = "teleport.version"
	checkWatch    = "teleport.watch"
	checkList     = "teleport.list"
	checkPlugin   = "teleport.plugin_data"
	checkDecide   = "teleport.decide"
	checkReview   = "teleport.review"
	checkUsers    = "teleport.users"
)

const (
	// nearEnd is how little may be left of an identity: tbot renews its certificates, of an hour,
	// every 20 minutes.
	nearEnd = 15 * time.Minute
	// watchTime bounds the wait for the confirmation of a watch.
	watchTime = 15 * time.Second
	// reviewersTried is for how many users it is tried whether the agent may review for them.
	reviewersTried = 20
)

// CheckFor says what the agent is to do in Teleport.
type CheckFor struct {
	Mode sync.DecisionMode
	// Users: who the requester is in Jira is asked of Teleport, so that nobody decides their own
	// request.
	Users bool
}

// Check finds out what the agent needs of Teleport. It changes nothing: rights to write are tried
// on a request that does not exist, which Teleport says only to who has the right.
func Check(ctx context.Context, cfg Config, want CheckFor, log *zap.Logger) []sync.Finding {
	f := &sync.Findings{Group: sync.GroupTeleport}
	rest := append([]string{checkVersion, checkWatch, checkList, checkPlugin}, want.checks()...)
	if !checkFiles(cfg, f) {
		f.Skipped("the identity cannot be used", append([]string{checkAddress}, rest...)...)
		return f.All
	}
	c, err := Connect(ctx, cfg, log)
	if err != nil {
		f.Fails(checkAddress, dialRemedy(cfg, err), "%s", err)
		f.Skipped("Teleport cannot be reached", rest...)
		return f.All
	}
	defer c.Close()
	f.Holds(checkAddress, "cluster %s answers at %s", c.ClusterName(), cfg.Addr)
	c.checkVersion(f)
	c.checkWatch(ctx, f)
	c.checkList(ctx, f)
	c.checkPluginData(ctx, f)
	switch want.Mode {
	case sync.ModeState:
		c.checkDecide(ctx, f)
	case sync.ModeReview:
		c.checkReview(ctx, f)
	case sync.ModeNotify:
	}
	if want.Users || want.Mode == sync.ModeReview {
		c.checkUsers(ctx, f, want.Mode)
	}
	return f.All
}

func (w CheckFor) checks() []string {
	var checks []string
	switch w.Mode {
	case sync.ModeState:
		checks = append(checks, checkDecide)
	case sync.ModeReview:
		checks = append(checks, checkReview)
	case sync.ModeNotify:
	}
	if w.Users || w.Mode == sync.ModeReview {
		checks = append(checks, checkUsers)
	}
	return checks
}

// checkFiles finds out whose identity the files hold, and for how long. It reports whether it can
// be used.
func checkFiles(cfg Config, f *sync.Findings) bool {
	creds, err := loadCredentials(cfg)
	if err != nil {
		f.Fails(checkIdentity, "have tbot write it (an output of type identity), or: tctl auth sign --user=jira-agent "+
			"--out=identity --ttl=8760h; "+
			"then see that the agent's process may read it", "%s", err)
		return false
	}
	leaf := creds.current.Load().leaf
	who := "user " + leaf.Subject.CommonName
	if issuer := leaf.Issuer.Organization; len(issuer) > 0 {
		who += " of cluster " + issuer[0]
	}
	left := time.Until(leaf.NotAfter)
	end := leaf.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case left <= 0:
		f.Fails(checkIdentity, renewRemedy, "%s, expired at %s", who, end)
		return false
	case left < nearEnd:
		f.Doubt(checkIdentity, renewRemedy, "%s, expires soon, at %s (in %s)", who, end, left.Round(time.Second))
	default:
		f.Holds(checkIdentity, "%s, valid until %s", who, end)
	}
	return true
}

const renewRemedy = "renew it: see that tbot runs and writes to this path, or: tctl auth sign --user=jira-agent " +
	"--out=identity --ttl=8760h"

// dialRemedy is what to do about a connection that does not come about.
func dialRemedy(cfg Config, err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "client version is unsupported"):
		return "this Teleport is too new for this release of the agent, whose client is of version " + api.Version +
			": install a newer release"
	case slices.ContainsFunc(certificateRefusals, func(refusal string) bool { return strings.Contains(text, refusal) }):
		return "Teleport's user CA was rotated since the identity was made, or the identity is of another cluster " +
			"than the one at " + cfg.Addr + ": " + renewRemedy +
			"; where the Proxy's own certificate is of a private CA, name that CA's file in SSL_CERT_FILE"
	}
	if remedy := callerRemedy(err); remedy != "" {
		return remedy
	}
	return "check TELEPORT_ADDR (host:port of the Proxy, as a rule with port 443, or of the Auth Service), and that " +
		"this machine reaches it: " +
		"curl https://" + cfg.Addr + "/webapi/ping; a proxy on the way is set by HTTPS_PROXY and NO_PROXY"
}

// certificateRefusals are what a dial says when one end does not trust the other's certificate. The
// last is all that is left to see when the Auth Service closes the connection while the client
// still writes.
var certificateRefusals = []string{
	"certificate signed by unknown authority", "unknown certificate authority", "bad certificate", "write: broken pipe",
}

// callerRemedy is what to do where Teleport refuses the agent as such, whatever it asks for; empty
// where it does not.
func callerRemedy(err error) string {
	cause := err
	var e *sync.Error
	if errors.As(err, &e) {
		cause = e.Err // without what was tried
	}
	code, text := codeOf(cause), unquoted(cause)
	switch {
	case code == codes.PermissionDenied && concernsAll(cause):
		return "the agent's user is locked, itself or through its role: tctl get locks; tctl rm lock/NAME"
	case code != codes.NotFound || !strings.Contains(text, denied):
		return ""
	case strings.Contains(text, userGone):
		return "the agent's user is gone from Teleport: make it again with its role, tctl create -f user.yaml " +
			"(deploy/teleport/user.yaml), or with Machine ID tctl create -f bot.yaml; then renew the identity"
	default:
		return "the agent's role is gone from Teleport: make it again, tctl create -f role.yaml " +
			"(deploy/teleport/role-*.yaml, or `teleport-jira-agent setup`, have it)"
	}
}

// checkVersion compares the server with the client's range: Teleport takes clients of its own major
// version and of the one before; older servers were made before this client and take it all the
// same.
func (c *Client) checkVersion(f *sync.Findings) {
	server, err := semver.NewVersion(c.ServerVersion())
	if err != nil {
		f.Doubt(
			checkVersion,
			"report it to whoever makes the agent",
			"the server's version %q cannot be read",
			c.ServerVersion(),
		)
		return
	}
	ours := semver.New(api.Version)
	switch {
	case server.Major > ours.Major+1:
		f.Fails(checkVersion, "install a newer release of the agent", "server %s takes clients from %d.0 on, this agent's "+
			"is %s", server, server.Major-1, ours)
	case server.Major == ours.Major+1:
		f.Holds(
			checkVersion,
			"server %s, client %s; the next major version of Teleport needs a newer release of the agent",
			server,
			ours,
		)
	case server.Major < ours.Major-1:
		f.Doubt(
			checkVersion,
			"upgrade Teleport; Teleport's documentation calls newer clients unsupported",
			"server %s is older than this agent's client %s was made for",
			server,
			ours,
		)
	default:
		f.Holds(checkVersion, "server %s, client %s", server, ours)
	}
}

// roleRemedy says which rule the agent's role lacks.
func roleRemedy(rule string) string {
	return "add to the agent's role: " + rule + " (deploy/teleport/role-*.yaml, or `teleport-jira-agent setup`, have " +
		"the whole role); then: tctl create -f role.yaml"
}

func (c *Client) checkWatch(ctx context.Context, f *sync.Findings) {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	w, err := c.Watch(ctx)
	if err != nil {
		f.Fails(checkWatch, refusalRemedy(err, listRule), "%s", err)
		return
	}
	_ = w.Close() // it has shown what it was opened for
	f.Holds(checkWatch, "access requests can be watched")
}

// refusalRemedy is the rule that is missing where Teleport refused for want of one, else what to do
// about its not answering.
func refusalRemedy(err error, rule string) string {
	if remedy := callerRemedy(err); remedy != "" {
		return remedy
	}
	if codeOf(err) == codes.PermissionDenied {
		if strings.Contains(err.Error(), "requires MFA") {
			return "let the agent use an identity from tbot, or from tctl auth sign on the Auth Service: a person's own " +
				"identity needs MFA for this"
		}
		return roleRemedy(rule)
	}
	return "see whether Teleport's Auth Service is well: tctl status"
}

// listRule is what the agent needs to see all requests.
const listRule = "allow.rules access_request: [list, read]"

// checkList counts what Teleport lists. Without the right it lists the agent's own requests, none,
// and reports no error.
func (c *Client) checkList(ctx context.Context, f *sync.Findings) {
	right, err := c.ListRight(ctx)
	if err != nil {
		f.Fails(checkList, refusalRemedy(err, listRule), "%s", err)
		return
	}
	if right == sync.ListRightLacking {
		f.Fails(checkList, roleRemedy(listRule+", and no deny.rules that take these away"),
			"the agent may not list access requests: Teleport shows it none, and reports no error")
		return
	}
	all, pending := 0, 0
	err = c.Requests(ctx, func(page []sync.Request) error {
		for _, r := range page {
			if all++; r.State == sync.StatePending {
				pending++
			}
		}
		return nil
	})
	if err != nil {
		f.Fails(checkList, refusalRemedy(err, listRule), "%s", err)
		return
	}
	if right == sync.ListRightUnknown {
		f.Doubt(checkList,
			"see whether the agent's role has "+listRule+", without a condition and without deny.rules that take these away",
			"%d access requests; whether the agent may list those of others cannot be told", all)
		return
	}
	f.Holds(checkList, "%d access requests, %d of them pending", all, pending)
}

func (c *Client) checkPluginData(ctx context.Context, f *sync.Findings) {
	id := uuid.NewString()
	if _, err := c.Linked(ctx, id); err != nil {
		f.Fails(checkPlugin, refusalRemedy(err, listRule), "%s", err)
		return
	}
	err := c.update(
		ctx,
		"try the right to write plugin data",
		id,
		map[string]string{keyClaim: "check"},
		map[string]string{keyIssueID: "none"},
	)
	if !errors.Is(err, sync.ErrNotFound) && !errors.Is(err, sync.ErrChanged) {
		f.Fails(checkPlugin, refusalRemedy(err, "allow.rules access_plugin_data: [update]"), "%s", orAccepted(err))
		return
	}
	f.Holds(checkPlugin, "plugin data can be read and written")
}

// orAccepted is err, and in its place what a server did that took what it should have refused.
func orAccepted(err error) error {
	if err == nil {
		return errors.New("Teleport took a write to a request that does not exist")
	}
	return err
}

func (c *Client) checkDecide(ctx context.Context, f *sync.Findings) {
	err := c.Decide(ctx, uuid.NewString(), sync.Decision{State: sync.StateDenied, Reason: "teleport-jira-agent check"})
	switch {
	case codeOf(err) == codes.PermissionDenied:
		f.Fails(checkDecide, refusalRemedy(err, "allow.rules access_request: [update]"), "%s", err)
		return
	case !errors.Is(err, sync.ErrNotFound):
		f.Doubt(checkDecide, "see whether the role has allow.rules access_request: [update]", "it cannot be told whether "+
			"requests can be decided: %s", orAccepted(err))
		return
	}
	f.Holds(checkDecide, "requests can be approved and denied (TELEPORT_DECISION_MODE=state)")
}

// checkReview tries, for users who are mapped to Jira, whether the agent may review on their
// behalf.
func (c *Client) checkReview(ctx context.Context, f *sync.Findings) {
	if !c.ReviewsOnBehalf() {
		f.Fails(checkReview, "upgrade Teleport to "+ReviewsSince+" or newer, or set TELEPORT_DECISION_MODE=state",
			"server %s takes no reviews on behalf of users", c.ServerVersion())
		return
	}
	users, err := c.mapped(ctx)
	switch {
	case err != nil:
		f.Fails(checkReview, refusalRemedy(err, "allow.rules user: [list, read]"), "%s", err)
		return
	case len(users) == 0:
		f.Doubt(
			checkReview,
			"give it to the users who decide: tctl edit user/NAME, spec.traits."+c.cfg.UserTrait+": [ID], with the account id "+
				"that Jira shows in the address of "+
				"the person's profile; users of an identity provider get it there",
			"no user has the trait %s, so that nobody "+
				"can decide in Jira",
			c.cfg.UserTrait,
		)
		return
	}
	var refused, powerless []string
	for _, user := range users[:min(len(users), reviewersTried)] {
		_, err := c.Review(
			ctx,
			uuid.NewString(),
			sync.Review{Author: user, Verdict: sync.StateDenied, Reason: "teleport-jira-agent check", Created: time.Now()},
		)
		switch {
		case errors.Is(err, sync.ErrNotFound):
		case errors.Is(err, sync.ErrReviewUnsupported):
			refused = append(refused, user)
		case errors.Is(err, sync.ErrReviewDenied): // as those who only make requests have the trait, too
			powerless = append(powerless, user)
		default:
			f.Fails(checkReview, refusalRemedy(err, "allow.review_requests.submit_for_users"), "%s", orAccepted(err))
			return
		}
	}
	tried := min(len(users), reviewersTried)
	remedy := roleRemedy(fmt.Sprintf("allow.review_requests.submit_for_users: [%s]", strings.Join(refused, ", ")))
	switch {
	case len(refused) == tried:
		f.Fails(checkReview, remedy, "the agent may review for none of the users with the trait %s", c.cfg.UserTrait)
	case len(powerless) == tried:
		f.Doubt(checkReview, "give those who decide a role with allow.review_requests: tctl users update NAME "+
			"--set-roles=…, or the trait to those who have one",
			"none of the users with the trait %s may review requests (%d tried)", c.cfg.UserTrait, tried)
	case len(refused) > 0:
		f.Doubt(
			checkReview,
			remedy,
			"the agent may not review for %s, whose moves in Jira will be refused",
			strings.Join(refused, ", "),
		)
	default:
		f.Holds(
			checkReview,
			"the agent may review for the users with the trait %s who may review (%d of %d tried)",
			c.cfg.UserTrait,
			tried-len(powerless),
			tried,
		)
	}
}

// mapped are the names of the users who have the trait of a Jira account.
func (c *Client) mapped(ctx context.Context) ([]string, error) {
	query := &userspb.ListUsersRequest{PageSize: userPage}
	var names []string
	for {
		var page *userspb.ListUsersResponse
		err := c.call(ctx, "list users", lookUp, listTimeout, func(ctx context.Context, api *client.Client) error {
			var err error
			page, err = api.ListUsers(ctx, query)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, user := range page.Users {
			if len(user.GetTraits()[c.cfg.UserTrait]) > 0 && canLogIn(user, time.Now()) {
				names = append(names, user.GetName())
			}
		}
		if query.PageToken = page.NextPageToken; query.PageToken == "" {
			return names, nil
		}
	}
}

// checkUsers finds out whether the agent may read who a requester is.
func (c *Client) checkUsers(ctx context.Context, f *sync.Findings, mode sync.DecisionMode) {
	name := "no-such-user-" + uuid.NewString()
	err := c.call(ctx, "read a user", lookUp, c.cfg.CallTimeout, func(ctx context.Context, api *client.Client) error {
		_, err := api.GetUser(ctx, name, false)
		return err
	})
	switch {
	case errors.Is(err, sync.ErrNotFound):
		f.Holds(checkUsers, "users and their trait %s can be read", c.cfg.UserTrait)
	case errors.Is(err, sync.ErrForbidden) && mode != sync.ModeReview:
		f.Doubt(checkUsers, roleRemedy("allow.rules "+types.KindUser+": [read]"),
			"users cannot be read: a requester who decides under another name than the one in Teleport is not noticed")
	default:
		f.Fails(checkUsers, refusalRemedy(err, "allow.rules "+types.KindUser+": [list, read]"), "%s", orAccepted(err))
	}
}
