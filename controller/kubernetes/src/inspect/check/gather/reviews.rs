//! Asks the API server, for each need, whether the controller is allowed.

use super::super::facts::Need;
use crate::api::client::describe;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

/// How many questions are asked at once.
const AT_ONCE: usize = 16;

/// Asks for each need whether the ServiceAccount is allowed.
pub(super) async fn ask(
    client: &Client,
    needs: Vec<Need>,
    namespace: &str,
    account: &str,
) -> Result<Vec<(Need, bool)>, String> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answers = stream::iter(needs).map(async |need| {
        let review = SubjectAccessReview {
            spec: question(&need, namespace, account),
            ..SubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok((need, answer.status.is_some_and(|status| status.allowed)))
    });
    answers.buffered(AT_ONCE).try_collect().await.map_err(|error: kube::Error| match &error {
        kube::Error::Api(status) if status.is_forbidden() => {
            "you may not ask; you need a role that lets you create subjectaccessreviews.authorization.k8s.io"
                .to_owned()
        }
        error => describe(error),
    })
}

fn question(need: &Need, namespace: &str, account: &str) -> SubjectAccessReviewSpec {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ];
    SubjectAccessReviewSpec {
        user: Some(format!("system:serviceaccount:{namespace}:{account}")),
        groups: Some(groups.into()),
        resource_attributes: Some(ResourceAttributes {
            group: text(need.group),
            resource: text(need.resource),
            subresource: text(need.subresource),
            name: need.name.map(str::to_owned),
            namespace: need.namespace.clone(),
            verb: text(need.verb),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}
