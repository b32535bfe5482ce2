//! PostgreSQL connection settings.

use std::str::FromStr;

pub mod tls {
    pub type MakeTls = tokio_postgres_rustls::MakeRustlsConnect;
}

#[derive(Clone, Debug)]
pub struct ConnInfo {
    config: tokio_postgres::Config,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnInfoError {
    #[error("{0}")]
    Invalid(#[from] tokio_postgres::Error),
}

impl ConnInfo {
    pub fn parse(url: &str) -> Result<ConnInfo, ConnInfoError> {
        Ok(ConnInfo {
            config: tokio_postgres::Config::from_str(url)?,
        })
    }

    pub fn describe(&self) -> String {
        format!("{:?}", self.config.get_hosts())
    }

    pub fn tokio_postgres(&self) -> Result<(tokio_postgres::Config, tls::MakeTls), ConnInfoError> {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Ok((self.config.clone(), tls::MakeTls::new(tls)))
    }

    pub async fn connect(
        &self,
        application_name: &str,
    ) -> Result<tokio_postgres::Client, ConnInfoError> {
        let (mut config, tls) = self.tokio_postgres()?;
        config.application_name(application_name);
        let (client, connection) = config.connect(tls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}
