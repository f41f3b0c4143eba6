//! Certificates made for one test: an authority and a server of it. Owns the files they are in.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::process::file;

/// Paths of files in PEM form.
pub struct Certificates {
    /// The authority.
    pub authority: String,
    /// What the server shows, for `localhost`.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Makes an authority that nobody has heard of, and a certificate of it, in `directory`.
pub fn make(directory: &Path) -> Certificates {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    Certificates {
        authority: file(directory, "authority.pem", &issuer.pem()),
        certificate: file(directory, "certificate.pem", &certificate),
        key: file(directory, "key.pem", &key.serialize_pem()),
    }
}
