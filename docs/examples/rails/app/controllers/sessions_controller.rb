class SessionsController < ApplicationController
  skip_before_action :sign_in_first

  def create
    user = User.find_by(name: params[:name])&.authenticate(params[:password])
    return render plain: "wrong name or password", status: :unauthorized unless user

    # Neither encrypted nor signed, as aionotify passes it on as it is: the token is random.
    cookies[:session_token] = {
      value: user.sessions.create!.token, httponly: true, same_site: :lax, secure: request.ssl?
    }
    redirect_to root_path
  end

  def destroy
    current_session&.destroy
    cookies.delete(:session_token)
    redirect_to new_session_path
  end
end
