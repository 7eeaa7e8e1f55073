require "rails"
require "active_record/railtie"
require "active_job/railtie"
require "action_controller/railtie"
require "action_view/railtie"

module Shop
  class Application < Rails::Application
    config.load_defaults 6.1
    config.eager_load = true
    config.secret_key_base = ENV.fetch("SECRET_KEY")
    config.aionotify_url = "http://127.0.0.1:8001"
    config.aionotify_key = ENV.fetch("PUBLISH_KEY")
    config.log_level = :info
    config.logger = ActiveSupport::Logger.new($stdout)
  end
end
