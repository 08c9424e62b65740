//! TLS to Postgres: who the server is, is checked, and a connection that fails over it says which knob to look at.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use storage::{Pg, StorageError};
use testkit::database::Database;
use testkit::servers::Postgres;
use testkit::settings::Settings;

use crate::{eventually, own_postgres, postgres_settings};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Turns TLS on with a certificate for `name`. The server writes its own files, so that they are its own.
async fn certify(server: &Postgres, authority: &Authority, name: &str) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let pg = Pg::new(&postgres_settings(&server.url()), "test").unwrap();
    let client = pg.client().await.unwrap();
    for (file, pem) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
        let copy = format!(
            "copy (select * from unnest(string_to_array('{}', E'\\n'))) to program 'umask 077; cat > {file}'",
            pem.replace("\r\n", "\n")
        );
        client.batch_execute(&copy).await.unwrap();
    }
    client.batch_execute("alter system set ssl = on").await.unwrap();
    client.batch_execute("select pg_reload_conf()").await.unwrap();
    eventually("TLS is on", async || client.query_one("show ssl", &[]).await.unwrap().get::<_, &str>(0) == "on").await;
}

fn file(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn verifying(url: &str, ca: &Path) -> Result<Pg, StorageError> {
    let settings = Settings::new().postgres(url).set("POSTGRES__TLS", "verify-full");
    Pg::new(&settings.set("POSTGRES__TLS_CA_FILE", ca.to_str().unwrap()).load().unwrap().postgres, "test")
}

async fn refusal(url: &str, ca: &Path) -> String {
    let error = verifying(url, ca).unwrap().client().await.expect_err("a refusal");
    println!("{error}");
    assert!(error.is_unavailable(), "asking again is right: certificates are renewed. {error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_must_be_who_it_says_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (authority("ours"), authority("another"));
    let (our_file, other_file) = (file(folder.path(), "ca.pem", &ours.pem()), file(folder.path(), "other.pem", &other.pem()));
    let server = own_postgres();
    certify(&server, &ours, "127.0.0.1").await;

    let client = verifying(&server.url(), &our_file).unwrap().client().await.unwrap();
    let row = client.query_one("select ssl, version from pg_stat_ssl where pid = pg_backend_pid()", &[]).await.unwrap();
    assert!(row.get::<_, bool>(0), "it is TLS");
    println!("{}", row.get::<_, &str>(1));

    let said = refusal(&server.url(), &other_file).await;
    assert!(said.contains("postgres.tls_ca_file") && said.contains("UnknownIssuer"), "{said}");
    let said = refusal(&server.url().replace("127.0.0.1", "localhost"), &our_file).await;
    assert!(said.contains("postgres.tls_ca_file") && said.contains("not valid for name \"localhost\""), "{said}");
    // Several authorities in one file: one of them will do.
    let both = file(folder.path(), "both.pem", &format!("{}{}", other.pem(), ours.pem()));
    drop(verifying(&server.url(), &both).unwrap().client().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_not_spoken_to_in_clear() {
    let folder = tempfile::tempdir().unwrap();
    let ca = file(folder.path(), "ca.pem", &authority("any").pem());
    let database = Database::new().await.unwrap();
    let said = refusal(database.url(), &ca).await;
    assert!(said.contains("postgres.tls") && said.contains("does not support TLS"), "{said}");
    // Unless that is what the settings say.
    database.pg().unwrap().client().await.unwrap().batch_execute("select 1").await.unwrap();
}

#[test]
fn a_file_that_holds_no_authority_is_told_before_anything_connects() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap().serialize_pem();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let missing = folder.path().join("missing.pem");
    let files = [missing, file(folder.path(), "empty", ""), file(folder.path(), "key", &key), file(folder.path(), "broken", broken)];
    for ca in files {
        let error = verifying("postgres://a:secret@127.0.0.1:1/b", &ca).err().expect("an error");
        println!("{error}");
        assert!(matches!(error, StorageError::Settings(_)) && error.to_string().starts_with("postgres.tls_ca_file: "), "{error}");
    }
}
