//! What `walhook run` would refuse of this machine, `walhook check` finds.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::check::of_level;
use crate::harness::command::{Answer, answer, walhook};
use crate::harness::walhook::Installation;

/// The findings of `walhook check` on an installation, which exits with `code`.
async fn check(installation: &Installation, environment: &[(&str, &str)], code: i32) -> Value {
    run_check(installation, environment)
        .await
        .exits(code)
        .json()
}

async fn run_check(installation: &Installation, environment: &[(&str, &str)]) -> Answer {
    let mut command = walhook();
    command
        .arg("--config")
        .arg(installation.config_file())
        .args(["check", "--json"])
        .envs(environment.iter().copied());
    answer(command.output().await.unwrap())
}

#[track_caller]
fn assert_only(findings: &[String], parts: &[&str]) {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    for part in parts {
        assert!(findings[0].contains(part), "no `{part}` in {findings:#?}");
    }
}

#[tokio::test]
async fn a_jwt_key_that_cannot_be_used_is_a_failure() {
    let mut installation = Installation::of_orders().await;
    let file = installation.directory.path().join("keys");
    for (setting, content, said) in [
        (
            "algorithm = 'HS256'\nkey_file = 'keys'",
            None,
            "keys`: No such file",
        ),
        (
            "algorithm = 'HS256'\nkey_file = 'keys'",
            Some("short"),
            "HS256 needs 32 or more",
        ),
        (
            "algorithm = 'RS256'\nkey_file = 'keys'",
            Some("no PEM"),
            "expected a public key as PEM",
        ),
        (
            "algorithm = 'ES256'\njwks_file = 'keys'",
            Some("no JSON"),
            "expected a JWK set",
        ),
        (
            "algorithm = 'ES256'",
            None,
            "either `key_file` or `jwks_file`",
        ),
    ] {
        let _ = std::fs::remove_file(&file);
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
            let private = PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&file, private).unwrap();
        }
        let jwt = format!("[api.jwt]\n{setting}\n[api]");
        installation.edit("[api]", &jwt);
        let findings = check(&installation, &[], 1).await;
        assert_only(&of_level(&findings, "failure"), &["(api.jwt)", said]);
        installation.edit(&jwt, "[api]");
    }
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    let private = PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&file, private).unwrap();
    installation.edit(
        "[api]",
        "[api.jwt]\nalgorithm = 'HS256'\nkey_file = 'keys'\n[api]",
    );
    let findings = check(&installation, &[], 0).await;
    let warnings = of_level(&findings, "warning");
    let named = format!(
        "api.jwt.key_file `{}` may be read by others (mode 0644)",
        file.display()
    );
    assert!(
        warnings.iter().any(|warning| warning.starts_with(&named)),
        "{warnings:#?}"
    );
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_on_is_a_failure() {
    let mut installation = Installation::of_orders().await;
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let used = holder.local_addr().unwrap().to_string();
    for (address, said) in [
        (used.as_str(), "in use"),
        // A documentation's address, which no machine has.
        ("192.0.2.1:8080", "assign"),
        ("no.such.host.invalid:8080", "no.such.host.invalid"),
    ] {
        let set = format!("listen = '{address}'");
        installation.edit("listen = '127.0.0.1:0'", &set);
        let findings = check(&installation, &[], 1).await;
        assert_only(
            &of_level(&findings, "failure"),
            &["api.listen", address, said],
        );
        installation.edit(&set, "listen = '127.0.0.1:0'");
    }
    for address in ["nonsense", "localhost", ":8080", "127.0.0.1:80800", ""] {
        let set = format!("listen = '{address}'");
        installation.edit("listen = '127.0.0.1:0'", &set);
        let answer = run_check(&installation, &[]).await.exits(2);
        answer
            .says("walhook.toml:")
            .says("api.listen: ")
            .says("expected such as");
        installation.edit(&set, "listen = '127.0.0.1:0'");
    }
}

#[tokio::test]
async fn the_address_of_a_running_walhook_is_no_failure() {
    let mut installation = Installation::of_orders().await;
    // Free a moment ago; a process that takes it meanwhile fails the test, not the promise.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    installation.edit("127.0.0.1:0", &free.to_string());
    let running = installation.start();
    installation
        .wait_for("exists (select from instances)")
        .await;
    let findings = check(&installation, &[], 0).await;
    let said = format!("a walhook listens on api.listen = \"{free}\"");
    assert!(
        of_level(&findings, "ok")
            .iter()
            .any(|ok| ok.starts_with(&said)),
        "{findings:#}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_machine_without_root_certificates_is_a_failure() {
    let installation = Installation::of_orders().await;
    let none = tempfile::tempdir().unwrap();
    let environment = [
        ("SSL_CERT_FILE", "/dev/null"),
        ("SSL_CERT_DIR", none.path().to_str().unwrap()),
    ];
    let findings = check(&installation, &environment, 1).await;
    assert_only(
        &of_level(&findings, "failure"),
        &["no endpoint can be sent to"],
    );
}

#[tokio::test]
async fn another_key_than_that_of_the_store_is_a_failure() {
    let installation = Installation::of_orders().await;
    let subscribed = installation
        .subscribe("acme", "https://example.com/", &["*"])
        .await;
    let key = installation.directory.path().join("walhook.key");
    std::fs::remove_file(&key).unwrap();
    ::walhook::secret::EncryptionKey::create(&key).unwrap();
    let answer = run_check(&installation, &[]).await.exits(1);
    assert!(!answer.out.contains(&subscribed.secret));
    let failures = of_level(&answer.json(), "failure");
    assert_only(
        &failures,
        &[
            "does not hold the store's key",
            "security.encryption_key_file",
        ],
    );
}

#[tokio::test]
async fn a_url_file_that_others_may_read_is_used_with_a_warning() {
    let mut installation = Installation::of_orders().await;
    let file = installation.directory.path().join("url");
    let url = installation.database.url.clone();
    std::fs::write(&file, format!("{url}\n")).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    installation.edit(&format!("url = '{url}'"), "url_file = 'url'");
    let findings = check(&installation, &[], 0).await;
    let warnings = of_level(&findings, "warning");
    let named = format!(
        "source.url_file `{}` may be read by others (mode 0644)",
        file.display()
    );
    assert!(
        warnings.iter().any(|warning| warning.starts_with(&named)),
        "{warnings:#?}"
    );
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let findings = check(&installation, &[], 0).await;
    assert!(!findings.to_string().contains("url_file"), "{findings:#}");
}

#[tokio::test]
async fn a_configuration_with_a_password_that_others_may_read_is_warned_of() {
    let mut installation = Installation::of_orders().await;
    let url = installation.database.url.clone();
    let separator = if url.contains('?') { '&' } else { '?' };
    let with_password = format!("url = '{url}{separator}password=secret'");
    installation.edit(&format!("url = '{url}'"), &with_password);
    let file = installation.config_file();
    let exposed = |findings: &serde_json::Value| {
        findings.to_string().contains("source.url `") && !findings.to_string().contains("secret'")
    };
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let findings = check(&installation, &[], 0).await;
    assert!(exposed(&findings), "{findings:#}");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let findings = check(&installation, &[], 0).await;
    assert!(!exposed(&findings), "{findings:#}");
}
