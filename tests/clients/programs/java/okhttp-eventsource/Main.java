// In docs/clients.rst:
import static java.util.concurrent.TimeUnit.SECONDS;

import com.launchdarkly.eventsource.ConnectStrategy;
import com.launchdarkly.eventsource.ErrorStrategy;
import com.launchdarkly.eventsource.EventSource;
import com.launchdarkly.eventsource.FaultEvent;
import com.launchdarkly.eventsource.HttpConnectStrategy;
import com.launchdarkly.eventsource.MessageEvent;
import com.launchdarkly.eventsource.StreamEvent;
import com.launchdarkly.eventsource.StreamHttpErrorException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import okhttp3.Request;

class Notifications {
    static Request authorize(Request request) {
        try {
            String token = "Bearer " + Contract.getToken();
            return request.newBuilder().header("Authorization", token).build();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    static void listen(URI url, String lastId) {
        HttpConnectStrategy connect =
            ConnectStrategy.http(url)
                .readTimeout(40, SECONDS)
                .requestTransformer(Notifications::authorize);
        EventSource.Builder builder =
            new EventSource.Builder(connect)
                .lastEventId(lastId)
                .errorStrategy(ErrorStrategy.alwaysContinue());
        try (EventSource source = builder.build()) {
            for (StreamEvent event : source.anyEvents()) {
                if (event instanceof MessageEvent message) {
                    Contract.show(message.getEventName(), message.getData());
                } else if (event instanceof FaultEvent fault
                    && fault.getCause() instanceof StreamHttpErrorException answer
                    && (answer.getCode() == 401 || answer.getCode() == 403)) {
                    return;
                }
            }
        }
    }
}

// Until here.
class Main {
    public static void main(String[] words) {
        Contract.tokenFile = words[1];
        Notifications.listen(URI.create(words[0]), words[2]);
        Contract.signIn();
    }
}
