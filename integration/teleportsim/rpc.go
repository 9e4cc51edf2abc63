package teleportsim

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/gravitational/teleport/api/client/proto"
	"github.com/gravitational/teleport/api/metadata"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/emptypb"
)

// authService is what the network sees. Everything that it does not define is Unimplemented.
type authService struct {
	proto.UnimplementedAuthServiceServer
	server *Server
}

// Ping tells about the cluster, to every user.
func (a *authService) Ping(ctx context.Context, _ *proto.PingRequest) (*proto.PingResponse, error) {
	return &proto.PingResponse{
		ClusterName:     a.server.cfg.ClusterName,
		ServerVersion:   a.server.cfg.ServerVersion,
		ProxyPublicAddr: a.server.cfg.ProxyPublicAddr,
		ServerFeatures:  &proto.Features{AccessControls: true, AdvancedAccessWorkflows: true},
		RemoteAddr:      remoteOf(ctx),
	}, nil
}

// ListAccessRequests answers one page of what the caller may see.
func (a *authService) ListAccessRequests(
	ctx context.Context,
	query *proto.ListAccessRequestsRequest,
) (*proto.ListAccessRequestsResponse, error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	return a.server.list(caller, query)
}

// GetAccessRequestsV2 streams all pages of the same list, for old clients.
func (a *authService) GetAccessRequestsV2(
	filter *types.AccessRequestFilter,
	stream proto.AuthService_GetAccessRequestsV2Server,
) error {
	caller, err := callerOf(stream.Context())
	if err != nil {
		return err
	}
	query := &proto.ListAccessRequestsRequest{Filter: filter}
	for {
		a.server.mu.Lock()
		page, err := a.server.list(caller, query)
		a.server.mu.Unlock()
		if err != nil {
			return err
		}
		for _, request := range page.AccessRequests {
			if err := stream.Send(request); err != nil {
				return trace.Wrap(err)
			}
		}
		if query.StartKey = page.NextKey; query.StartKey == "" {
			return nil
		}
	}
}

// GetCurrentUserRoles streams the caller's roles.
func (a *authService) GetCurrentUserRoles(_ *emptypb.Empty, stream proto.AuthService_GetCurrentUserRolesServer) error {
	caller, err := callerOf(stream.Context())
	if err != nil {
		return err
	}
	if a.server.cfg.NoUserRoles {
		return trace.NotImplemented("method GetCurrentUserRoles not implemented")
	}
	a.server.mu.Lock()
	role, err := a.server.roles[caller].resource(caller)
	a.server.mu.Unlock()
	if err != nil {
		return err
	}
	return trace.Wrap(stream.Send(role))
}

// SetAccessRequestState approves, denies or reopens a request past all thresholds.
func (a *authService) SetAccessRequestState(
	ctx context.Context,
	setter *proto.RequestStateSetter,
) (*emptypb.Empty, error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	err = a.server.setState(caller, setter.Delegator, types.AccessRequestUpdate{
		RequestID:       setter.ID,
		State:           setter.State,
		Reason:          setter.Reason,
		Annotations:     setter.Annotations,
		Roles:           setter.Roles,
		AssumeStartTime: setter.AssumeStartTime,
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// SubmitAccessReview adds the caller's review and answers the request as it is then, which may
// still be pending.
func (a *authService) SubmitAccessReview(
	ctx context.Context,
	submission *types.AccessReviewSubmission,
) (*types.AccessRequestV3, error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	return a.server.submitReview(caller, *submission)
}

// GetPluginData answers all matching rows in one message.
func (a *authService) GetPluginData(ctx context.Context, filter *types.PluginDataFilter) (*proto.PluginDataSeq, error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	if err := checkPluginDataKind(filter.Kind); err != nil {
		return nil, err
	}
	if err := a.server.roles[caller].checkPluginData(filter.Kind, types.VerbList, types.VerbRead); err != nil {
		return nil, err
	}
	return &proto.PluginDataSeq{PluginData: a.server.findPluginData(*filter)}, nil
}

// UpdatePluginData compares and swaps one plugin's entry of one row.
func (a *authService) UpdatePluginData(
	ctx context.Context,
	params *types.PluginDataUpdateParams,
) (*emptypb.Empty, error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	if err := checkPluginDataKind(params.Kind); err != nil {
		return nil, err
	}
	if err := a.server.roles[caller].checkPluginData(params.Kind, types.VerbUpdate); err != nil {
		return nil, err
	}
	if err := a.server.updatePluginData(*params); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// callerOf is the user that the client's certificate names. TLS has verified the certificate.
func callerOf(ctx context.Context) (string, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
			if user := info.State.PeerCertificates[0].Subject.CommonName; user != "" {
				return user, nil
			}
		}
	}
	return "", trace.AccessDenied("missing authentication")
}

func remoteOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}

// checkClientVersion refuses clients more than one major version older than the server; newer ones
// pass, and so do those that do not say.
// https://github.com/gravitational/teleport/blob/master/lib/auth/middleware.go
func (s *Server) checkClientVersion(ctx context.Context) error {
	version, ok := metadata.ClientVersionFromContext(ctx)
	if !ok {
		return nil
	}
	clientMajor, err := majorVersion(version)
	if err != nil {
		return trace.BadParameter("client version: %v", err)
	}
	serverMajor, err := majorVersion(s.cfg.ServerVersion)
	if err != nil {
		return trace.Wrap(err)
	}
	if clientMajor < serverMajor-1 {
		return trace.AccessDenied("client version is unsupported")
	}
	return nil
}

func majorVersion(version string) (int, error) {
	digits, _, _ := strings.Cut(version, ".")
	major, err := strconv.Atoi(digits)
	if err != nil {
		return 0, fmt.Errorf("%q is no version of the form 18.0.0", version)
	}
	return major, nil
}
