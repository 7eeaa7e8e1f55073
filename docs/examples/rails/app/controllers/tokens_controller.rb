# Answers aionotify, whose a token is.
class TokensController < ActionController::API
  include ActionController::HttpAuthentication::Token::ControllerMethods

  def show
    session = authenticate_with_http_token { |token, _| Session.find_by(token: token) }
    if session
      render json: { user_id: session.user_id }
    else
      render json: { detail: "no such token" }, status: :unauthorized
    end
  end
end
