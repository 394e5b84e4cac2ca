//! Checks the release of Istio, which decides what the gateway's Envoys can do. The releases come
//! from the tags of images: of the proxies in the gateway's Pods, and of istiod.

use super::facts::Facts;
use super::report::Check;
use crate::settings::Delivery;
use fedgate_envoy::FilterKind;

/// The first Istio whose Envoy (1.37) accepts the gateway's listener.
const FIRST: Release = Release(1, 29);
/// The first Istio whose Envoy (1.38) notices that a mounted trust bundle map was replaced.
const RELOADS_ROOTS: Release = Release(1, 30);
/// The first Istio whose proxy has dynamic modules, and whose Envoy (1.39) loads the native filter.
const LOADS_NATIVE: Release = Release(1, 31);

const NAME: &str = "istio-version";
const TITLE: &str = "this Istio can do what the gateway needs";

/// A release of Istio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Release(u32, u32);

impl Release {
    /// The release in an image's tag, for example `…/proxyv2:1.29.1-distroless`.
    fn of_image(image: &str) -> Option<Self> {
        let (_, tag) = image.split('@').next()?.rsplit_once(':')?;
        let mut numbers = tag.split(['.', '-']);
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// An image of Istio's.
struct Image<'a> {
    /// The object that has it.
    object: String,
    name: Option<&'a str>,
}

impl Image<'_> {
    fn release(&self) -> Option<Release> {
        Release::of_image(self.name?)
    }

    fn describe(&self) -> String {
        format!("{} has {}", self.object, self.name.unwrap_or("no container istio-proxy"))
    }
}

pub(super) fn check(facts: &Facts, delivery: Delivery) -> Check {
    let pods = facts.pods.iter().flatten();
    let proxies: Vec<_> = pods
        .map(|(name, pod)| Image { object: format!("Pod {name}"), name: pod.proxy.as_deref() })
        .collect();
    let istiods = facts.mesh.istiods.iter().flatten();
    let istiods: Vec<_> = istiods
        .map(|istiod| Image {
            object: format!("Deployment {}", istiod.name),
            name: Some(istiod.image.as_str()),
        })
        .collect();
    if let Some((_, image)) = oldest(proxies.iter().chain(&istiods)).filter(|(r, _)| *r < FIRST) {
        let detail = format!(
            "{}, whose Envoy is older than 1.37 and refuses the listener",
            image.describe()
        );
        return Check::failed(NAME, TITLE, detail, "upgrade to Istio 1.29 or later");
    }
    if let Some(image) = too_old_for(delivery, proxies.iter().chain(&istiods)) {
        let detail = format!("{}, which cannot run the native filter", image.describe());
        let hint = "upgrade to Istio 1.31 or later, or set --delivery to EnvoyFilter; until then the gateway refuses all connections";
        return Check::failed(NAME, TITLE, detail, hint);
    }
    let oldest = oldest(proxies.iter());
    if let Some((_, image)) = oldest.filter(|(release, _)| *release < RELOADS_ROOTS) {
        let detail =
            format!("{}, whose Envoy 1.37 does not notice changed roots", image.describe());
        let hint = "upgrade to Istio 1.30 or later; until then, restart the gateway's Pods when a peer joins or its roots change \
                    (`kubectl rollout restart`)";
        return Check::warning(NAME, TITLE, detail, hint);
    }
    if let Err(why) = &facts.pods {
        return Check::skipped(NAME, TITLE, why);
    }
    match (proxies.iter().find(|image| image.release().is_none()), oldest) {
        (Some(image), _) => {
            let detail = match image.name {
                Some(_) => {
                    format!("{}: its tag does not state the release of Istio", image.describe())
                }
                None => image.describe(),
            };
            Check::skipped(NAME, TITLE, detail)
        }
        (None, Some((Release(major, minor), _))) => {
            Check::ok(NAME, TITLE, format!("{major}.{minor}"))
        }
        (None, None) => Check::skipped(NAME, TITLE, "the gateway has no Pod"),
    }
}

/// The oldest image, if it is too old for the filter of this delivery. It may be istiod's, which
/// drops what it does not know from an EnvoyFilter.
fn too_old_for<'a>(
    delivery: Delivery,
    images: impl Iterator<Item = &'a Image<'a>>,
) -> Option<&'a Image<'a>> {
    let native = delivery.filter() == FilterKind::Native;
    let (release, image) = oldest(images).filter(|_| native)?;
    (release < LOADS_NATIVE).then_some(image)
}

/// The image with the oldest release; ignores those whose tag states none.
fn oldest<'a>(images: impl Iterator<Item = &'a Image<'a>>) -> Option<(Release, &'a Image<'a>)> {
    images.filter_map(|image| Some((image.release()?, image))).min_by_key(|(release, _)| *release)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_tag_states_its_release() {
        for (image, expected) in [
            ("docker.io/istio/proxyv2:1.29.1-distroless", Some(Release(1, 29))),
            ("registry.example:5000/istio/pilot:1.28-alpha.0", Some(Release(1, 28))),
            ("istio/proxyv2:1.31.0@sha256:abcd", Some(Release(1, 31))),
            ("registry.example:5000/istio/proxyv2@sha256:abcd", None),
            ("istio/proxyv2:latest", None),
            ("auto", None),
        ] {
            assert_eq!(Release::of_image(image), expected, "{image}");
        }
        assert!(Release(1, 9) < FIRST && Release(1, 28) < FIRST && Release(2, 0) > RELOADS_ROOTS);
    }
}
