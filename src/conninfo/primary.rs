//! Where writes go when what is read is a standby.

use super::{Client, ConnInfo, ConnInfoError, Purpose};

impl ConnInfo {
    /// The same server, which may be a standby of `primary`.
    pub fn with_primary(mut self, primary: ConnInfo) -> Self {
        self.primary = Some(Box::new(primary));
        self
    }

    pub fn primary(&self) -> Option<&ConnInfo> {
        self.primary.as_deref()
    }

    /// Connects to the server that takes writes: this one, or its primary for as long as
    /// this one is a standby. Once it is promoted the old primary's log is another one.
    pub async fn connect_writable(&self, purpose: Purpose) -> Result<Client, ConnInfoError> {
        let client = self.connect(purpose, None).await?;
        match &self.primary {
            None => Ok(client),
            Some(primary) => match self.is_standby(&client).await? {
                false => Ok(client),
                true => primary.connect(purpose, None).await,
            },
        }
    }

    /// Whether the server that `client` is connected to is a standby.
    pub async fn is_standby(&self, client: &Client) -> Result<bool, ConnInfoError> {
        let query = include_str!("../../sql/queries/conninfo/is_standby.sql");
        let row = client.query_one(query, &[]).await;
        let standby = row.and_then(|row| row.try_get(0));
        standby.map_err(|source| ConnInfoError::Connect {
            to: self.describe(),
            source,
        })
    }
}
