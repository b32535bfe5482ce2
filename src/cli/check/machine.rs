//! What `walhook run` needs of the machine that it starts on: the files and the address that
//! the configuration names. Everything is tried as `run` tries it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::api::JwtVerifier;
use crate::app;
use crate::config::Config;
use crate::preflight::Finding;
use crate::terminal::chain;

/// How long whatever listens may take to say that it is a walhook.
const ANSWER: Duration = Duration::from_secs(2);
/// The OpenAPI document names walhook at its beginning.
const BEGINNING: u64 = 4096;

pub(super) async fn findings(config: &Config) -> Vec<Finding> {
    let exposed = config.exposed_secret_files().into_iter();
    let mut findings: Vec<Finding> = exposed
        .map(|(file, mode)| {
            let shown = file.path.display();
            Finding::warning(
                format!(
                    "{} `{shown}` may be read by others (mode {mode:04o})",
                    file.key
                ),
                "it holds a secret",
            )
            .mend(format!("chmod 600 '{shown}'"))
        })
        .collect();
    if let Some(jwt) = &config.api.jwt {
        findings.push(match JwtVerifier::load(jwt) {
            Ok(_) => Finding::ok("the application's JWTs can be verified (api.jwt)"),
            Err(error) => Finding::failure(
                "the application's JWTs cannot be verified (api.jwt)",
                chain(&error),
            ),
        });
    }
    if let Err(error) = app::endpoint_client(config) {
        findings.push(Finding::failure(
            "no endpoint can be sent to",
            chain(&error),
        ));
    }
    findings.push(listen(config).await);
    findings
}

async fn listen(config: &Config) -> Finding {
    let address = &config.api.listen;
    let error = match app::listen(config, None).await {
        Ok(_) => return Finding::ok(format!("api.listen = \"{address}\" is free")),
        Err(error) => error,
    };
    let in_use = error
        .downcast_ref()
        .is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::AddrInUse);
    match in_use && is_walhook(address).await {
        true => Finding::ok(format!("a walhook listens on api.listen = \"{address}\"")),
        false => Finding::failure("the API cannot listen", chain(&error)),
    }
}

/// Whether what listens there is a walhook, such as the one that is being checked.
async fn is_walhook(address: &str) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = b"GET /openapi.json HTTP/1.0\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.take(BEGINNING).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = timeout(ANSWER, asked).await.ok().and_then(Result::ok);
    answer.is_some_and(|answer| answer.windows(7).any(|part| part == b"walhook"))
}
