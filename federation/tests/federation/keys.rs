use crate::rig::key;
use fedgate_federation::key::{KeyError, PublicKey, SigningKey};

/// The public key of peer protocol section 3, whose seed is 00..1f.
const PUBLIC: &str = "MCowBQYDK2VwAyEAA6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";

fn vector() -> SigningKey {
    SigningKey::from_seed(&std::array::from_fn(|index| index as u8)).unwrap()
}

#[test]
fn writes_what_dkp_reads() {
    let expected =
        format!("-----BEGIN ED25519 PUBLIC KEY-----\n{PUBLIC}\n-----END ED25519 PUBLIC KEY-----\n");
    assert_eq!(vector().public().to_pem(), expected);
    assert!(
        vector()
            .to_pem()
            .starts_with("-----BEGIN ED25519 PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAB")
    );
}

#[test]
fn reads_both_pairs_of_labels() {
    let (private, public) = (vector().to_pem(), vector().public().to_pem());
    assert_eq!(SigningKey::from_pem(&private).unwrap().public(), vector().public());
    assert_eq!(
        SigningKey::from_pem(&private.replace("ED25519 ", "")).unwrap().public(),
        vector().public()
    );
    assert_eq!(PublicKey::from_pem(&public), Ok(vector().public()));
    assert_eq!(PublicKey::from_pem(&public.replace("ED25519 ", "")), Ok(vector().public()));
    let padded = format!("\r\n{}\r\n", public.replace('\n', "\r\n"));
    assert_eq!(PublicKey::from_pem(&padded), Ok(vector().public()));
}

#[test]
fn reads_a_key_of_version_2() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let read = SigningKey::from_pem(&pair.serialize_pem()).unwrap();
    assert_eq!(read.public().as_bytes(), pair.public_key_raw());
    // Written as version 1, whatever version was read.
    assert_eq!(SigningKey::from_pem(&read.to_pem()).unwrap().public(), read.public());
}

#[test]
fn refuses_anything_but_a_key() {
    let public = vector().public().to_pem();
    let other = rcgen::KeyPair::generate().unwrap();
    for (text, error) in [
        (String::new(), KeyError::Empty),
        (" \n".to_owned(), KeyError::Empty),
        ("key".to_owned(), KeyError::Pem),
        (public.repeat(2), KeyError::Pem),
        ("x".repeat(5000), KeyError::TooLong),
        (public.replace("PUBLIC", "PRIVATE"), KeyError::Label("ED25519 PUBLIC KEY", "PUBLIC KEY")),
        (other.public_key_pem(), KeyError::NotEd25519),
    ] {
        assert_eq!(PublicKey::from_pem(&text), Err(error), "{text}");
    }
    let as_private = public.replace("PUBLIC", "PRIVATE");
    assert_eq!(SigningKey::from_pem(&as_private).unwrap_err(), KeyError::NotEd25519);
    assert_eq!(SigningKey::from_pem(&other.serialize_pem()).unwrap_err(), KeyError::NotEd25519);
}

#[test]
fn a_private_key_is_never_displayed() {
    assert_eq!(format!("{:?}", key(7)), "SigningKey(..)");
    let secret = vector().to_pem().replace("MC4", "MC5");
    let error = SigningKey::from_pem(&secret).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("AAEC"), "{error}");
}
