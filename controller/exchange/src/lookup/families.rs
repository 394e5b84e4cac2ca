//! Puts a name's IPv4 and IPv6 addresses together. Each family is asked for separately, so one may
//! fail while the other is answered.

use super::Found;
use std::net::IpAddr;
use std::time::Duration;

/// How long an answer counts that lacks a family which could not be looked up.
const HALF: Duration = Duration::from_secs(30);

/// What DNS says about one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OfFamily {
    /// The addresses, and how long they are valid.
    Addresses(Vec<IpAddr>, Duration),
    /// There are none, with the reason in words for operators.
    None(&'static str),
    /// It is unknown, with the reason in words for operators.
    Failed(String),
}

/// The addresses of both families.
///
/// # Errors
/// Says why there is no address. A failure goes before an answer that there are none.
pub(super) fn together(v4: OfFamily, v6: OfFamily) -> Result<Found, String> {
    let (mut addresses, mut valid) = (Vec::new(), Vec::new());
    let (mut none, mut failure) = (None, None);
    for (family, answer) in [("IPv4", v4), ("IPv6", v6)] {
        match answer {
            OfFamily::Addresses(found, time_to_live) => {
                addresses.extend(found);
                valid.push(time_to_live);
            }
            OfFamily::None(why) => none = none.or(Some(why)),
            OfFamily::Failed(why) => failure.get_or_insert_with(Vec::new).push((family, why)),
        }
    }
    let failure = failure.map(describe);
    let time_to_live = valid.into_iter().chain(failure.as_ref().map(|_| HALF)).min();
    match time_to_live.filter(|_| !addresses.is_empty()) {
        Some(time_to_live) => Ok(Found { addresses, time_to_live, failure }),
        None => Err(failure.unwrap_or_else(|| none.unwrap_or_default().to_owned())),
    }
}

/// Names the family unless both failed for the same reason.
fn describe(failures: Vec<(&str, String)>) -> String {
    match failures.as_slice() {
        [(_, v4), (_, v6)] if v4 == v6 => v4.clone(),
        failures => {
            let named = failures.iter().map(|(family, why)| format!("{why} ({family} addresses)"));
            named.collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: &str = "no name server answers";
    const NONE: &str = "DNS knows no address of it";

    fn addresses(list: &[&str], seconds: u64) -> OfFamily {
        let list = list.iter().map(|ip| ip.parse().unwrap()).collect();
        OfFamily::Addresses(list, Duration::from_secs(seconds))
    }

    fn failed() -> OfFamily {
        OfFamily::Failed(SILENT.to_owned())
    }

    #[test]
    fn both_families_count_until_the_first_expires() {
        let found = together(addresses(&["192.0.2.9"], 60), addresses(&["2001:db8::9"], 20));
        let found = found.unwrap();
        assert_eq!((found.addresses.len(), found.failure), (2, None));
        assert_eq!(found.time_to_live, Duration::from_secs(20));
        let found = together(addresses(&["192.0.2.9"], 60), OfFamily::None(NONE)).unwrap();
        assert_eq!((found.time_to_live, found.failure), (Duration::from_secs(60), None));
    }

    #[test]
    fn servers_that_fail_for_one_family_do_not_stop_the_other() {
        for (v4, v6) in [
            (addresses(&["192.0.2.9"], 300), failed()),
            (failed(), addresses(&["2001:db8::9"], 300)),
        ] {
            let found = together(v4, v6).unwrap();
            assert_eq!(found.addresses.len(), 1);
            assert!(found.failure.unwrap().starts_with(SILENT));
            assert_eq!(found.time_to_live, HALF, "the other family is asked for again soon");
        }
    }

    #[test]
    fn no_address_and_no_answer_are_told_apart() {
        assert_eq!(together(OfFamily::None(NONE), OfFamily::None("later")), Err(NONE.to_owned()));
        let half = together(OfFamily::None(NONE), failed()).unwrap_err();
        assert_eq!(half, format!("{SILENT} (IPv6 addresses)"));
        assert_eq!(together(failed(), failed()), Err(SILENT.to_owned()));
    }
}
