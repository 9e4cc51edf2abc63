package teleport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-semver/semver"
	"github.com/gravitational/teleport/api/client"
	"github.com/gravitational/teleport/api/types"
	"google.golang.org/protobuf/encoding/protowire"

	"teleport-jira-agent/sync"
)

// fieldOnBehalf is AccessReview.submitted_on_behalf_of_author, a bool that is newer than this
// client (https://github.com/gravitational/teleport/pull/66230). Its bytes are sent all the same,
// as a field that the client does not know.
const fieldOnBehalf protowire.Number = 12

// onBehalf are the bytes that say that the caller submits the review for its author. Without them,
// or with an Auth Service that does not know them, a review by anybody but the caller is refused.
func onBehalf() []byte {
	return protowire.AppendVarint(
		protowire.AppendTag(nil, fieldOnBehalf, protowire.VarintType),
		protowire.EncodeBool(true),
	)
}

// Review submits a review whose author is r.Author, and returns the request as it is then, which
// may still be pending. Teleport checks the author's right to review, and counts the review towards
// the thresholds.
//
// Beside what every call may report: ErrReviewUnsupported where Teleport takes no reviews for
// others from this identity, ErrReviewDenied where it takes none from the author, ErrReviewed where
// the author has one on the request, be it this very one after a lost answer, ErrChanged where the
// request was resolved meanwhile, ErrNotFound where it is gone.
func (c *Client) Review(ctx context.Context, requestID string, r sync.Review) (sync.Request, error) {
	op := fmt.Sprintf("review access request %s for %q", requestID, r.Author)
	submission, err := submission(requestID, r)
	if err != nil {
		return sync.Request{}, &sync.Error{Side: side, Op: op, Permanent: true, Err: err}
	}
	var after types.AccessRequest
	err = c.call(ctx, op, reviewOnly, c.cfg.CallTimeout, func(ctx context.Context, api *client.Client) error {
		var err error
		after, err = api.SubmitAccessReview(ctx, submission)
		return err
	})
	if err != nil {
		return sync.Request{}, err
	}
	return convert(after, c.webURL()), nil
}

func submission(requestID string, r sync.Review) (types.AccessReviewSubmission, error) {
	review := types.AccessReview{
		Author:           r.Author,
		Reason:           cut(r.Reason, maxReason),
		Created:          r.Created,
		XXX_unrecognized: onBehalf(),
	}
	switch r.Verdict {
	case sync.StateApproved:
		review.ProposedState = types.RequestState_APPROVED
	case sync.StateDenied:
		review.ProposedState = types.RequestState_DENIED
	default:
		return types.AccessReviewSubmission{}, errors.New("a review approves or denies")
	}
	if r.Author == "" { // Teleport would take it for the agent's own
		return types.AccessReviewSubmission{}, errors.New("the review has no author")
	}
	if review.Created.IsZero() {
		review.Created = time.Now()
	}
	review.Created = review.Created.UTC()
	return types.AccessReviewSubmission{RequestID: requestID, Review: review}, nil
}

// ReviewsSince is the first release whose Auth Service knows reviews on behalf of users; 19.0.0 has
// them from the start. https://github.com/gravitational/teleport/pull/69431
const ReviewsSince = "18.11.0"

// ReviewsOnBehalf reports whether the Auth Service that was last connected to is new enough for
// Review. Whether the agent's role allows it shows only with the first review.
func (c *Client) ReviewsOnBehalf() (supported bool) { return reviewsOnBehalf(c.ServerVersion()) }

// reviewsOnBehalf counts a pre-release as its release. A version that is none supports nothing.
func reviewsOnBehalf(version string) bool {
	v, err := semver.NewVersion(version)
	if err != nil {
		return false
	}
	v.PreRelease = ""
	return !v.LessThan(*semver.New(ReviewsSince))
}
