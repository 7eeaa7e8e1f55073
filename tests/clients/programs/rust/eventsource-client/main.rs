use clients::{arguments, get_token, show, sign_in};

// In docs/clients.rst:
use eventsource_client::{Client, ClientBuilder, Error, ReconnectOptions, SSE};
use futures_util::TryStreamExt;
use launchdarkly_sdk_transport::HyperTransport;
use std::time::Duration;

async fn listen(url: &str, mut last_id: String) {
    loop {
        let transport = HyperTransport::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(40))
            .build_http()
            .unwrap();
        let client = ClientBuilder::for_url(url)
            .and_then(|it| it.header("Authorization", &format!("Bearer {}", get_token())))
            .unwrap()
            .last_event_id(last_id.clone())
            .reconnect(ReconnectOptions::reconnect(false).build()) // the loop is ours
            .build_with_transport(transport);
        let mut stream = client.stream();
        loop {
            match stream.try_next().await {
                Ok(Some(SSE::Event(event))) => {
                    show(&event.event_type, &event.data);
                    last_id = event.id.unwrap_or(last_id);
                }
                Ok(Some(_)) => {}
                Err(Error::UnexpectedResponse(answer, _)) if [401, 403].contains(&answer.status()) => {
                    return;
                }
                Ok(None) | Err(_) => break,
            }
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(1000..5000))).await;
    }
}

// Until here.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (url, last_id) = arguments();
    listen(&url, last_id).await;
    sign_in();
}
