// In docs/clients.rst:
import static java.util.concurrent.TimeUnit.MILLISECONDS;

import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ThreadLocalRandom;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

class Notifications extends EventSourceListener {
    // By default it is 10 seconds, less than a heartbeat.
    final OkHttpClient client =
        new OkHttpClient.Builder().readTimeout(Duration.ofSeconds(40)).build();
    final ScheduledExecutorService later = Executors.newSingleThreadScheduledExecutor();
    final String url;
    String lastId;

    Notifications(String url, String lastId) {
        this.url = url;
        this.lastId = lastId;
    }

    void listen() {
        try {
            Request.Builder request =
                new Request.Builder().url(url).header("Authorization", "Bearer " + Contract.getToken());
            if (!lastId.isEmpty()) request.header("Last-Event-ID", lastId);
            EventSources.createFactory(client).newEventSource(request.build(), this);
        } catch (IOException error) {
            again(); // there was no token
        }
    }

    void again() {
        later.schedule(this::listen, ThreadLocalRandom.current().nextInt(1000, 5000), MILLISECONDS);
    }

    @Override
    public void onEvent(EventSource source, String id, String type, String data) {
        if (id != null) lastId = id;
        Contract.show(type == null ? "message" : type, data);
    }

    @Override
    public void onClosed(EventSource source) {
        again();
    }

    @Override
    public void onFailure(EventSource source, Throwable error, Response response) {
        int status = response == null ? 0 : response.code();
        if (status == 401 || status == 403) Contract.signIn();
        else again();
    }
}

// Until here.
class Main {
    public static void main(String[] words) {
        Contract.tokenFile = words[1];
        new Notifications(words[0], words[2]).listen();
    }
}
