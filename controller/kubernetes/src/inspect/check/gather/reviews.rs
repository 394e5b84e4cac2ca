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

/// Asks for each need whether the ServiceAccount is allowed. These are most questions of a check, so
/// `progress` is called after each answer.
pub(super) async fn ask(
    client: &Client,
    needs: Vec<Need>,
    (namespace, account): (&str, &str),
    progress: &dyn Fn(usize, usize),
) -> Result<Vec<(Need, bool)>, String> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let (all, mut done) = (needs.len(), 0);
    let answers = stream::iter(needs).map(async |need| {
        let review = SubjectAccessReview {
            spec: question(&need, namespace, account),
            ..SubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok((need, answer.status.is_some_and(|status| status.allowed)))
    });
    let answers = answers.buffered(AT_ONCE).inspect(|_| {
        done += 1;
        progress(done, all);
    });
    answers.try_collect().await.map_err(|error: kube::Error| match &error {
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

#[cfg(test)]
mod tests {
    use super::super::super::permissions::needs;
    use super::*;
    use crate::settings::Namespaces;
    use kube::client::Body;
    use std::cell::RefCell;

    #[tokio::test]
    async fn every_answer_is_a_step() {
        let allowed = r#"{ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {}, "status": { "allowed": true } }"#;
        let server = tower::service_fn(async move |_: hyper::Request<Body>| {
            Ok::<_, std::convert::Infallible>(hyper::Response::new(Body::from(
                allowed.as_bytes().to_vec(),
            )))
        });
        let needs = needs(&Namespaces::all_in("fedgate-system"));
        let (all, steps) = (needs.len(), RefCell::new(Vec::new()));
        let progress = |done, all| steps.borrow_mut().push((done, all));
        let client = Client::new(server, "default");
        let answers = ask(&client, needs, ("fedgate-system", "fedgate"), &progress).await;
        assert_eq!(answers.map(|answers| answers.len()), Ok(all));
        let expected: Vec<_> = (1..=all).map(|done| (done, all)).collect();
        assert_eq!(*steps.borrow(), expected);
    }
}
