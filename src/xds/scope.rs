//! What a stream may carry: every type, or the one of its service.

use tonic::Status;

use super::ResourceType;

/// The types of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// `AggregatedDiscoveryService`: each request names its type.
    Aggregated,
    /// A service of one type, such as `SecretDiscoveryService`.
    Only(ResourceType),
}

impl Scope {
    /// The type that a request with this `type_url` is about; `None` for one that is not served, whose subscription stays
    /// unanswered.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` without a type on an aggregated stream, or with another service's type.
    pub(super) fn resolve(self, type_url: &str) -> Result<Option<ResourceType>, Status> {
        match self {
            Self::Aggregated if type_url.is_empty() => {
                Err(Status::invalid_argument("type_url is empty, and an aggregated stream has no default"))
            }
            // New clients ask for new types. Such a subscription does no harm.
            Self::Aggregated => Ok(ResourceType::from_url(type_url)),
            Self::Only(ty) if type_url.is_empty() || type_url == ty.url() => Ok(Some(ty)),
            Self::Only(ty) => Err(Status::invalid_argument(format!(
                "this service is for {} only: send requests of other types to their own services or to \
                 AggregatedDiscoveryService",
                ty.url()
            ))),
        }
    }
}
