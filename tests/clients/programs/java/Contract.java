import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * What an application has, for the programs beside it: they are run with a URL, a file with a token and
 * a last id, and say what they hear in lines of JSON.
 */
final class Contract {
    static String tokenFile;

    private Contract() {}

    /** Returns a token that is valid now. */
    static String getToken() throws IOException {
        return Files.readString(Path.of(tokenFile)).strip();
    }

    /** Shows an event; the data are JSON, whatever else they are. */
    static synchronized void show(String type, String data) {
        System.out.println("{\"type\": \"" + type + "\", \"json\": " + data + "}");
    }

    /** The token is refused for good. */
    static void signIn() {
        System.out.println("{\"refused\": true}");
    }
}
