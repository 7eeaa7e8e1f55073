require "net/http"

# Stores an event at aionotify. It has an id, so it may be sent again and is delivered once.
class PublishJob < ActiveJob::Base
  class Unavailable < StandardError; end

  retry_on Unavailable, SystemCallError, Timeout::Error,
           attempts: 10, wait: ->(executions) { [2**executions, 60].min }

  def perform(event)
    config = Rails.configuration
    answer = Net::HTTP.post(
      URI("#{config.aionotify_url}/publish"),
      event.to_json,
      "Authorization" => "Bearer #{config.aionotify_key}"
    )
    return if answer.is_a?(Net::HTTPAccepted)

    message = "/publish answered #{answer.code}: #{answer.body}"
    raise answer.code.to_i >= 500 ? Unavailable.new(message) : ArgumentError.new(message)
  end
end
