class ApplicationController < ActionController::Base
  before_action :sign_in_first

  private

  def current_session
    @current_session ||= Session.find_by(token: cookies[:session_token]) if cookies[:session_token]
  end

  def sign_in_first
    redirect_to new_session_path unless current_session
  end
end
