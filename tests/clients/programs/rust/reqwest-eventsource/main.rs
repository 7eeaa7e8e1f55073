use clients::{arguments, get_token, show, sign_in};

// In docs/clients.rst:
use futures_util::StreamExt;
use reqwest_eventsource::{Error, Event, EventSource};
use std::time::Duration;

async fn listen(url: &str, mut last_id: String) {
    let timeout = Duration::from_secs(40);
    let client = reqwest::Client::builder().read_timeout(timeout).build().unwrap();
    loop {
        // It adds a header of its own when it comes back; the query counts until then.
        let from = [("last_event_id", last_id.as_str())];
        let from = if last_id.is_empty() { &from[..0] } else { &from };
        let request = client.get(url).bearer_auth(get_token()).query(from);
        let mut source = EventSource::new(request).unwrap();
        while let Some(next) = source.next().await {
            match next {
                Ok(Event::Open) => {}
                Ok(Event::Message(event)) => {
                    show(&event.event, &event.data);
                    last_id = event.id;
                    if event.event == "aionotify.expired" {
                        break; // come back with a new token
                    }
                }
                Err(Error::InvalidStatusCode(status, _)) if [401, 403].contains(&status.as_u16()) => {
                    return;
                }
                Err(_) => {} // it comes back, but not after a status other than 200
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
