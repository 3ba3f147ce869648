package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a cluster without security and quotas answers about them.
var (
	errFeatureLevel      = errors.New("feature level cannot be set")
	errSecurityDisabled  = errors.New("no authorizer is configured on the broker")
	errResourceNotFound  = errors.New("resource does not exist")
	errDuplicateResource = errors.New("resource is named twice")
)

// describeACLs says that there is no access control: an empty list would say that there is, and that
// it lets nobody in (checklist 53).
func (b *Broker) describeACLs(context.Context, *request, *kmsg.DescribeACLsRequest) kmsg.Response {
	response := kmsg.NewPtrDescribeACLsResponse()
	response.ErrorCode, response.ErrorMessage = b.outcome("DescribeAcls", errSecurityDisabled)
	return response
}

// createACLs refuses every entry.
func (b *Broker) createACLs(_ context.Context, _ *request, q *kmsg.CreateACLsRequest) kmsg.Response {
	response := kmsg.NewPtrCreateACLsResponse()
	for range q.Creations {
		result := kmsg.NewCreateACLsResponseResult()
		result.ErrorCode, result.ErrorMessage = b.outcome("CreateAcls", errSecurityDisabled)
		response.Results = append(response.Results, result)
	}
	return response
}

// deleteACLs refuses every filter.
func (b *Broker) deleteACLs(_ context.Context, _ *request, q *kmsg.DeleteACLsRequest) kmsg.Response {
	response := kmsg.NewPtrDeleteACLsResponse()
	for range q.Filters {
		result := kmsg.NewDeleteACLsResponseResult()
		result.ErrorCode, result.ErrorMessage = b.outcome("DeleteAcls", errSecurityDisabled)
		response.Results = append(response.Results, result)
	}
	return response
}

// describeClientQuotas tells of none: an empty list, where null would be an error.
func (b *Broker) describeClientQuotas(
	context.Context, *request, *kmsg.DescribeClientQuotasRequest,
) kmsg.Response {
	response := kmsg.NewPtrDescribeClientQuotasResponse()
	response.Entries = []kmsg.DescribeClientQuotasResponseEntry{}
	return response
}

// describeUserSCRAMCredentials: nobody has any, so whoever is asked for by name does not exist.
func (b *Broker) describeUserSCRAMCredentials(
	_ context.Context, _ *request, q *kmsg.DescribeUserSCRAMCredentialsRequest,
) kmsg.Response {
	response := kmsg.NewPtrDescribeUserSCRAMCredentialsResponse()
	times := map[string]int{}
	for _, user := range q.Users {
		times[user.Name]++
	}
	for _, user := range q.Users {
		result := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
		result.User = user.Name
		err := fmt.Errorf("%w: user %q has no SCRAM credentials", errResourceNotFound, user.Name)
		if times[user.Name] > 1 {
			err = fmt.Errorf("%w: user %q", errDuplicateResource, user.Name)
		}
		if times[user.Name] > 0 {
			result.ErrorCode, result.ErrorMessage = b.outcome("DescribeUserScramCredentials", err)
			response.Results = append(response.Results, result)
		}
		times[user.Name] = 0 // told
	}
	return response
}
